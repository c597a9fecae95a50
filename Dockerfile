# The server with its default model. What is in it and how to run it: docs/operations.md.
#
#   docker build -t anchorage .
#   docker run -e ANCHORAGE_API_KEYS=… -p 127.0.0.1:8080:8080 -v anchorage:/data anchorage
#
# Both images are Debian 12, so what is compiled in the first runs in the second.

FROM node:22-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The headers that native addons are compiled with are in the image: nothing but npm's registry is asked.
ENV npm_config_nodedir=/usr/local
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
COPY native native
COPY scripts/native.mjs scripts/native.mjs
# On other platforms than x64 there is no native encoder, and the image computes in ONNX Runtime.
RUN if [ "$(node -p process.arch)" = x64 ]; then node scripts/native.mjs; else mkdir -p native/build; fi
RUN node_modules/.bin/tsc -p tsconfig.build.json \
  && npm prune --omit=dev --no-audit --no-fund
# Of the native packages, only what this platform loads; of all packages, nothing that is for compilers or debuggers.
RUN find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 -type d ! -path "*/linux/$(node -p process.arch)" -exec rm -r {} + \
  && find node_modules/usearch/prebuilds -mindepth 1 -maxdepth 1 ! -name "linux-$(node -p process.arch)" -exec rm -r {} + \
  && rm -r node_modules/usearch/numkong node_modules/usearch/include node_modules/better-sqlite3/deps node_modules/better-sqlite3/src \
  && find node_modules/better-sqlite3/build -type f ! -path '*/Release/better_sqlite3.node' -delete \
  && find node_modules dist -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete \
  && mkdir /data

FROM debian:bookworm-slim
# Node alone, without npm and its packages: nothing is installed in a running container.
COPY --from=build /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY --from=build /app/package.json package.json
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/native/build native/build
COPY models models
COPY LICENSE LICENSE
COPY --from=build --chown=10001:10001 /data /data
# Two pools of malloc instead of one a thread, and below small nurseries of garbage: a fifth less memory.
ENV NODE_ENV=production \
  MALLOC_ARENA_MAX=2 \
  ANCHORAGE_HOST=0.0.0.0 \
  ANCHORAGE_DATA_DIR=/data \
  ANCHORAGE_MODELS_DIR=/app/models
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ANCHORAGE_PORT ?? 8080}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--max-semi-space-size=2", "/app/dist/main.js"]
