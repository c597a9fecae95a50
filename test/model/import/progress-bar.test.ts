import { expect, it } from 'vitest';
import { progressBar } from '../../../src/model/import/progress-bar.js';

function drawn(isTTY: boolean, receivedBytes: number[]): string {
  let text = '';
  const show = progressBar({ isTTY, write: (more) => (text += more) });
  for (const received of receivedBytes)
    show({ path: 'onnx/model.onnx', receivedBytes: received, totalBytes: 4_000_000 });
  return text;
}

it('on a terminal draws over one line, at once and at the end', () => {
  expect(drawn(true, [1_000_000, 1_000_001, 4_000_000])).toBe(
    '\r\x1b[K[######..................]  25% of 4.0 MB  onnx/model.onnx' +
      '\r\x1b[K[########################] 100% of 4.0 MB  onnx/model.onnx\n',
  );
});

it('elsewhere writes a line when a file is there', () => {
  expect(drawn(false, [1_000_000, 4_000_000])).toBe('onnx/model.onnx 4.0 MB\n');
});
