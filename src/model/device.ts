/** Where ONNX Runtime runs the graph: the execution providers that onnxruntime-node offers. */
export const DEVICES = ['cpu', 'cuda', 'coreml', 'dml'] as const;

export type Device = (typeof DEVICES)[number];
