import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import * as ort from 'onnxruntime-node';

const FOLDER = process.argv[2] ?? WRITTEN_FOR;

// golden.npz: a zip of arrays, each a header in Python's syntax and then the numbers.
const ARRAYS = {
  f4: [Float32Array, 'float32'], f8: [Float64Array, 'float64'], f2: [Uint16Array, 'float16'],
  i8: [BigInt64Array, 'int64'], i4: [Int32Array, 'int32'], i2: [Int16Array, 'int16'], i1: [Int8Array, 'int8'],
  u8: [BigUint64Array, 'uint64'], u4: [Uint32Array, 'uint32'], u2: [Uint16Array, 'uint16'], u1: [Uint8Array, 'uint8'],
  b1: [Uint8Array, 'bool'],
};

function* entries(file) {
  const bytes = fs.readFileSync(file);
  let end = bytes.length - 22;
  while (bytes.readUInt32LE(end) !== 0x06054b50) end--;
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    const [method, size, start] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
    const [name, extra, comment] = [28, 30, 32].map((place) => bytes.readUInt16LE(at + place));
    const data = start + 30 + bytes.readUInt16LE(start + 26) + bytes.readUInt16LE(start + 28);
    const packed = bytes.subarray(data, data + size);
    yield [bytes.toString('utf8', at + 46, at + 46 + name), method ? zlib.inflateRawSync(packed) : packed];
    at += 46 + name + extra + comment;
  }
}

function array(npy) {
  const wide = npy[6] > 1;
  const start = (wide ? 12 : 10) + (wide ? npy.readUInt32LE(8) : npy.readUInt16LE(8));
  const header = npy.toString('latin1', 10, start);
  const kind = /'descr': '[<|]([a-z]\d)'/.exec(header)[1];
  const dims = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((size) => size.trim()).map(Number);
  const [Numbers, type] = ARRAYS[kind];
  const data = new Numbers(Uint8Array.from(npy.subarray(start)).buffer);
  return { type, data, dims };
}

function cases() {
  const found = {};
  for (const [name, bytes] of entries(path.join(FOLDER, 'golden.npz'))) {
    const [graph, number, kind, ...rest] = name.replace(/\.npy$/, '').split('/');
    const one = ((found[graph] ??= {})[number] ??= { input: {}, output: {} });
    one[kind][rest.join('/')] = array(bytes);
  }
  return found;
}

// Half precision, which JavaScript has no numbers for.
const whole = new Float32Array(1);
const bits = new Uint32Array(whole.buffer);

function toHalf(value) {
  whole[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundEven(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | (roundEven((size / 2 ** exponent) * 1024) + ((exponent + 14) << 10));
}

function roundEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

function fromHalf(half) {
  const [sign, exponent, rest] = [half & 0x8000 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
}

function tensor({ type, data, dims }, wanted) {
  if (type.startsWith('float') && wanted === 'float16' && type !== wanted) {
    return new ort.Tensor('float16', Uint16Array.from(data, toHalf), dims);
  }
  return new ort.Tensor(type, data, dims);
}

const numbers = ({ type, data }) => Array.from(data, type === 'float16' ? fromHalf : Number);

// Logits of the last tokens alone, from a run that gave those of every token: an input with a default cannot be fed here.
function lastLogits(output, mask, count) {
  const [rows, length, width] = output.dims;
  const values = numbers(output);
  const kept = [];
  for (let row = 0; row < rows; row++) {
    const total = mask.dims[1];
    const own = numbers(mask).slice(row * total, (row + 1) * total);
    const end = total === length ? own.lastIndexOf(1) : length - 1;
    for (let token = end - count + 1; token <= end; token++) {
      const start = (row * length + Math.max(token, 0)) * width;
      kept.push(...values.slice(start, start + width));
    }
  }
  return { type: 'float32', data: kept, dims: [rows, count, width] };
}

async function run(session, given) {
  const types = Object.fromEntries(session.inputMetadata.map((entry) => [entry.name, entry.type]));
  const feeds = {};
  for (const [name, value] of Object.entries(given)) {
    if (session.inputNames.includes(name)) feeds[name] = tensor(value, types[name]);
  }
  const outputs = await session.run(feeds);
  const keep = given.num_logits_to_keep;
  if (keep && !session.inputNames.includes('num_logits_to_keep') && Number(keep.data[0]) > 0) {
    outputs.logits = lastLogits(outputs.logits, given.attention_mask, Number(keep.data[0]));
  }
  return outputs;
}

// The largest difference, relative to the output's largest number, and the mean cosine of its vectors; padding is left out.
function compare(name, expected, got, mask) {
  const [a, b] = [numbers(expected), numbers(got)];
  if (expected.dims.join() !== got.dims.map(Number).join()) throw Error(`${name} is ${got.dims}, not ${expected.dims}`);
  const perToken = mask && expected.dims.slice(0, 2).join() === mask.dims.join() && expected.dims.length > 1;
  const width = expected.dims.length > (perToken ? 2 : 0) ? (expected.dims.at(-1) ?? 1) : 1;
  const tokens = perToken ? numbers(mask) : [];
  const each = perToken ? a.length / tokens.length : 0;
  let [furthest, largest, cosines, vectors] = [0, 0, 0, 0];
  for (let start = 0; start < a.length; start += width) {
    if (perToken && !tokens[Math.floor(start / each)]) continue;
    let [product, left, right] = [0, 0, 0];
    for (let i = start; i < start + width; i++) {
      if (a[i] === b[i] && !Number.isFinite(a[i])) continue;
      const distance = Math.abs(a[i] - b[i]);
      furthest = Number.isNaN(distance) ? Infinity : Math.max(furthest, distance);
      largest = Math.max(largest, Math.abs(a[i]));
      product += a[i] * b[i];
      left += a[i] * a[i];
      right += b[i] * b[i];
    }
    cosines += left === right && product === left ? 1 : product / Math.sqrt(left * right) || 0;
    vectors += 1;
  }
  return { furthest, largest, cosines, vectors };
}

const golden = cases();
let failed = false;
for (const { graph, precision, file, relative, cosine } of GRAPHS) {
  const session = await ort.InferenceSession.create(path.join(FOLDER, file), { logSeverityLevel: 3 });
  const own = Object.values(golden[graph] ?? {});
  const found = {};
  let [cosines, vectors] = [0, 0];
  for (const { input, output } of own) {
    const outputs = await run(session, input);
    for (const [name, expected] of Object.entries(output)) {
      const one = compare(name, expected, outputs[name], input.attention_mask);
      const all = (found[name] ??= { furthest: 0, largest: 0 });
      all.furthest = Math.max(all.furthest, one.furthest);
      all.largest = Math.max(all.largest, one.largest);
      cosines += one.cosines;
      vectors += one.vectors;
    }
  }
  const worst = Math.max(0, ...Object.values(found).map((one) => (one.furthest ? one.furthest / one.largest : 0)));
  const mean = vectors ? cosines / vectors : 1;
  const bad = !own.length || (relative !== null && !(worst <= relative)) || (cosine !== null && !(mean >= cosine));
  failed ||= bad;
  const numbersSaid = `relative difference ${worst.toExponential(2)}, mean cosine ${mean.toFixed(6)}`;
  console.log(`${graph} ${precision}: ${bad ? 'FAILED' : 'ok'}, ${own.length} cases, ${numbersSaid}`);
}
console.log(failed ? 'FAILED' : 'ok');
process.exitCode = failed ? 1 : 0;
