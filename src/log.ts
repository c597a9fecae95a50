/** Log lines on standard error: JSON for machines, pretty on a terminal. Credentials are never among the fields. */
import { destination, type Logger, pino } from 'pino';

export function createLogger(level: string): Logger {
  const options = { level, redact: ['req.headers.authorization', 'headers.authorization'] };
  if (!process.stderr.isTTY) return pino(options, destination({ dest: 2, sync: false }));
  return pino({
    ...options,
    transport: {
      target: 'pino-pretty',
      options: { destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss' },
    },
  });
}
