/** The pooling modes by name; `graph` means that the ONNX graph pools by itself. */
export type PoolingMode = 'ata' | 'mean' | 'cls' | 'last' | 'graph';
