// Runs a graph of tokens, node graph.mjs GRAPH, on the feeds in the standard input, {name: rows of integers}, and prints
// the numbers of its first output as JSON.
import fs from 'node:fs';
import ort from 'onnxruntime-node';

const session = await ort.InferenceSession.create(process.argv[2]);
const feeds = Object.entries(JSON.parse(fs.readFileSync(0, 'utf8'))).map(([name, rows]) => [
  name,
  new ort.Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]),
]);
const outputs = await session.run(Object.fromEntries(feeds));
console.log(JSON.stringify(Array.from(outputs[session.outputNames[0]].data)));
