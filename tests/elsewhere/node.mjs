// Reads jobs (see jobs.mjs) as JSON from the standard input and writes the answers to the file that is named.
import fs from 'node:fs';
import * as library from '@huggingface/transformers';
import { answers } from './jobs.mjs';

const jobs = JSON.parse(fs.readFileSync(0, 'utf8'));
const read = (file) => (file.endsWith('.f32') ? new Float32Array(Uint8Array.from(fs.readFileSync(file)).buffer) : file);
fs.writeFileSync(process.argv[2], JSON.stringify(await answers(library, jobs, read)));
