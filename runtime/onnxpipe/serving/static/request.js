// A request to a model: how it is sent, and how it is written in curl, Python and JavaScript.

/** A file in the body of a request: base64 when it is sent, read by its name in code. */
export class FileRef {
  constructor(file, name) {
    this.file = file;
    this.name = file?.name ?? name;
  }
  async base64() {
    const reader = new FileReader();
    reader.readAsDataURL(this.file);
    await new Promise((done) => { reader.onloadend = done; });
    return reader.result.slice(reader.result.indexOf(",") + 1);
  }
}

/** The request of an input with parameters: the bytes of a file that is the whole input, or JSON. */
export function requestOf(form, base, input, parameters, stream) {
  const url = new URL(form.path.split("/").map(encodeURIComponent).join("/").slice(1), base);
  const output = { image: "answer.png", audio: "answer.wav" }[form.file];
  if (input instanceof FileRef && !stream) {
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, queryText(value));
    return { url: url.href, file: input, type: input.file?.type || "application/octet-stream", output };
  }
  const body = { inputs: input, ...(Object.keys(parameters).length && { parameters }), ...(stream && { stream }) };
  return { url: url.href, body, type: "application/json", stream, output };
}

/** A parameter of a query, which the server reads as JSON where it can. */
function queryText(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  try {
    JSON.parse(value);
    return JSON.stringify(value);
  } catch {
    return value;
  }
}

async function filled(value) {
  if (value instanceof FileRef) return value.base64();
  if (Array.isArray(value)) return Promise.all(value.map(filled));
  if (typeof value !== "object" || !value) return value;
  const pairs = Object.entries(value).map(async ([name, each]) => [name, await filled(each)]);
  return Object.fromEntries(await Promise.all(pairs));
}

/** Why there is no answer. */
export class Refusal extends Error {
  constructor(message, status, after) {
    super(message);
    Object.assign(this, { status, after });
  }
}

export async function ask(url, key, options = {}) {
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(url, { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new Refusal("The server cannot be reached.");
  });
  if (response.ok) return response;
  let message = await response.text();
  try {
    const { error } = JSON.parse(message);
    message = error.message ?? error;
  } catch { /* the page of a proxy: it is shown as it is */ }
  throw new Refusal(String(message).slice(0, 2000), response.status, response.headers.get("retry-after"));
}

export async function send({ url, file, type, body }, key, signal) {
  const content = file ? file.file : JSON.stringify(await filled(body));
  return ask(url, key, { method: "POST", body: content, headers: { "content-type": type }, signal });
}

export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "", piece; !(piece = await reader.read()).done;) {
    const lines = (text + piece.value).split("\n");
    text = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
  }
}

// -- the same in code

const string = JSON.stringify;

/** Write a value as code, short ones on one line; `file` writes how a file is read. */
export function literal(value, file, words = {}, indent = "") {
  if (value instanceof FileRef) return file(value.name);
  if (typeof value !== "object" || !value) return (typeof value !== "string" && words[value]) || string(value);
  const deeper = `${indent}  `, list = Array.isArray(value), [open, close] = list ? "[]" : "{}";
  const parts = Object.entries(value).map(([name, each]) =>
    (list ? "" : `${string(name)}: `) + literal(each, file, words, deeper));
  const line = open + parts.join(", ") + close;
  if (line.length + indent.length < 76) return line;
  return `${open}\n${deeper}${parts.join(`,\n${deeper}`)}\n${indent}${close}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl({ url, file, type, body, stream, output }, key) {
  const lines = [`curl ${stream ? "-N " : ""}${quoted(url)}`, `-H 'content-type: ${type}'`], files = [];
  if (key) lines.push('-H "authorization: Bearer $ONNXPIPE_API_KEY"');
  if (output) lines.push(`-o ${output}`);
  const text = file ? "" : literal(body, (name) => `\0${files.push(name) - 1}\0`);
  if (file) lines.push(`--data-binary ${quoted(`@${file.name}`)}`);
  else if (!files.length) lines.push(`-d ${quoted(text)}`);
  else {  // the shell reads the files; nothing else in the text is for it
    const read = (_, at) => `"$(base64 < ${quoted(files[at])} | tr -d '\\n')"`;
    const safe = text.replace(/[\\$`]/g, "\\$&").replace(/\0(\d+)\0/g, read);
    lines.push(`-d @- <<END\n${safe}\nEND`);
  }
  return lines.join(" \\\n  ");
}

export function python({ url, file, type, body, stream, output }, key) {
  let reads = false;
  const words = { true: "True", false: "False", null: "None" };
  const text = file ? "" : literal(body, (name) => (reads = true) && `encoded(${string(name)})`, words);
  const modules = [reads && "base64", !(file && output) && "json", key && "os", "urllib.request"].filter(Boolean);
  const secret = key ? ', "authorization": "Bearer " + os.environ["ONNXPIPE_API_KEY"]' : "";
  return [
    `import ${modules.join(", ")}`, "",
    ...(reads ? ["def encoded(name):", '    return base64.b64encode(open(name, "rb").read()).decode()', ""] : []),
    `body = ${file ? `open(${string(file.name)}, "rb").read()` : `json.dumps(${text}).encode()`}`,
    `headers = {"content-type": ${string(type)}${secret}}`,
    `request = urllib.request.Request(${string(url)}, body, headers)`,
    "with urllib.request.urlopen(request) as answer:",
    ...(stream ? [
      "    for line in answer:", '        if line.startswith(b"data:"):',
      '            print(json.loads(line[5:])["token"]["text"], end="", flush=True)',
    ] : [output ? `    open("${output}", "wb").write(answer.read())` : "    print(json.load(answer))"]),
  ].join("\n");
}

export function javascript({ url, file, type, body, stream, output }, key) {
  let reads = file;
  const text = file ? "" : literal(body, (name) => (reads = true) && `readFileSync(${string(name)}, "base64")`);
  const used = [reads && "readFileSync", output && "writeFileSync"].filter(Boolean);
  const secret = key ? ", authorization: `Bearer ${process.env.ONNXPIPE_API_KEY}`" : "";
  return [
    ...(used.length ? [`import { ${used.join(", ")} } from "node:fs";`, ""] : []),
    `const body = ${file ? `readFileSync(${string(file.name)})` : `JSON.stringify(${text})`};`,
    `const headers = { "content-type": ${string(type)}${secret} };`,
    `const answer = await fetch(${string(url)}, { method: "POST", headers, body });`,
    ...(stream ? [
      'let text = "";', "for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {",
      '  const lines = (text + piece).split("\\n");', "  text = lines.pop();", "  for (const line of lines) {",
      '    if (line.startsWith("data:")) process.stdout.write(JSON.parse(line.slice(5)).token.text);', "  }", "}",
    ] : [output ? `writeFileSync("${output}", new Uint8Array(await answer.arrayBuffer()));`
      : "console.log(JSON.stringify(await answer.json()));"]),
  ].join("\n");
}
