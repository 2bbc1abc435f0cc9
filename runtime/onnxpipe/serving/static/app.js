// The page: choose a model, run it, see its answer and the request.
import { Chat } from "./chat.js";
import { byId, el, release } from "./dom.js";
import { draw, drawFile, generated, textOf } from "./draw.js";
import { buildForm } from "./form.js";
import { Refusal, ask, curl, events, javascript, literal, python, requestOf, send } from "./request.js";

const CODES = { curl, Python: python, JavaScript: javascript };
const base = new URL(".", location.href);
let key = "", models = [], form, fields, chat, running = null, write = curl, code = "";

// -- the models

/** Load what the server says of its models; it may want a key first, or still be loading them. */
async function load() {
  let described;
  try {
    described = await (await ask(new URL("openapi.json", base), key)).json();
  } catch (error) {
    const locked = error.status === 401;
    byId("key-form").hidden = !locked;
    notice(locked ? "" : error.message);
    byId("key-error").textContent = key ? "The server does not take this key." : "";
    return byId("key").focus();
  }
  byId("key-form").hidden = true;
  models = Object.entries(described.paths).flatMap(([path, { post }]) => {
    const { parameters } = post?.requestBody?.content["application/json"]?.schema.properties ?? {};
    return post?.["x-onnxpipe"] ? { ...post["x-onnxpipe"], path, schemas: parameters.properties } : [];
  });
  notice(models.length ? "" : "The models are being loaded …");
  if (!models.length) return setTimeout(load, 1000);
  const options = models.map(({ model, task }) => el("option", { value: model }, `${model} · ${task}`));
  byId("model").replaceChildren(...options);
  byId("work").hidden = byId("picker").hidden = false;
  const asked = decodeURIComponent(location.hash.slice(1));
  if (models.some(({ model }) => model === asked)) byId("model").value = asked;
  choose();
}

const notice = (text) => { byId("notice").textContent = text; };

/** Show the form of the chosen model. */
function choose() {
  form = models.find(({ model }) => model === byId("model").value);
  history.replaceState(null, "", `#${encodeURIComponent(form.model)}`);
  document.title = `${form.task} · onnxpipe`;
  byId("task").textContent = form.task;
  byId("help").textContent = form.help;
  fields = buildForm(form, preview);
  begin();
}

/** Begin anew, with nothing run. */
function begin() {
  running?.abort();
  running = null;
  busy(false);
  const talks = form.fields[0].kind === "chat";
  if (talks) byId("fields").replaceChildren();
  chat = talks ? new Chat(form) : null;
  byId("grid").classList.toggle("chat", talks);
  byId("grid").prepend(byId(talks ? "answer-card" : "form"));
  byId("input-title").textContent = talks ? "Message" : "Input";
  byId("answer-title").textContent = talks ? "Conversation" : "Answer";
  byId("run").textContent = talks ? "Send" : "Run";
  byId("clear").hidden = !talks;
  byId("stream-label").hidden = !form.streams;
  show(chat?.thread ?? el("p.empty", "Nothing has been run yet."));
  showTimes("");
  json(null);
  preview();
}

// -- the request and the answer

function request() {
  const { input, ...rest } = fields.read(), stream = form.streams && byId("stream").checked;
  return { ...rest, ...requestOf(form, base, chat ? chat.messages() : input, rest.parameters, stream) };
}

/** Write the request that Run would send. */
function preview() {
  if (form) byId("code").textContent = code = write(request(), key);
}

const show = (...nodes) => byId("answer").replaceChildren(...nodes.flat(3).filter(Boolean));
const showTimes = (text) => { byId("times").textContent = text; };

function busy(on) {
  byId("answer").setAttribute("aria-busy", on);  // a stream is read aloud once, when it has ended
  byId("run").disabled = on;
  byId("stop").disabled = !on;
}

/** Write the JSON of an answer, without long lists of numbers and files in base64. */
function json(value) {
  const short = (_, each) => {
    if (each?.length > 99 && typeof each[0] === "number") return [...each.slice(0, 9), `… ${each.length} numbers`];
    return /^[\w+/]{200}/.test(each) ? `${each.slice(0, 60)}… ${each.length} characters` : each;
  };
  byId("json").textContent = value ? literal(JSON.parse(JSON.stringify(value, short))).slice(0, 20000) : "";
}

const ms = (response, name) => `${response.headers.get(`x-${name}-time`) ?? "?"} ms`;

function times(response, started) {
  const all = Math.round(performance.now() - started), parts = ["queue", "inference", "total"];
  showTimes(`${parts.map((name) => `${name} ${ms(response, name)}`).join(" · ")} · with the network ${all} ms`);
}

function fault(error) {
  if (error.name === "AbortError") return el("p.hint", "Stopped.");
  const kind = error.status < 500 ? "refused the request" : "failed";
  const title = error.status ? `The server ${kind} (${error.status}).` : "There is no answer.";
  return el("div.error", el("b", title), error.message, error.after ? ` Try again in ${error.after} s.` : "");
}

/** Read a stream; `grow` is called with the text so far. */
async function read(response, started, grow) {
  const found = [];
  let text = "", first, tokens = 0;
  for await (const event of events(response)) {
    found.push(event);
    if (event.error) throw new Refusal(event.error, response.status);
    first ??= performance.now();
    tokens = event.details?.generated_tokens ?? tokens + 1;
    grow(text += event.token.text);
    const speed = (1000 * (tokens - 1)) / (performance.now() - first);
    const fast = tokens > 1 ? ` · ${speed.toFixed(1)} tokens/s` : "";
    const wait = `queue ${ms(response, "queue")} · first token after ${Math.round(first - started)} ms`;
    showTimes(`${wait} · ${tokens} tokens${fast}`);
  }
  json(found);
  return text;
}

async function run(event) {
  event.preventDefault();
  const asked = request();
  if (running || !byId("form").reportValidity()) return;
  const controller = (running = new AbortController()), started = performance.now(), talk = chat;
  const context = { ...asked, form, files: fields.files(), file: fields.files()[0] };
  const ours = () => running === controller;  // until another model is chosen
  busy(true);
  showTimes("");
  preview();
  talk ? talk.begin() : show(el("p.empty", "Running …"));
  byId("answer-card").scrollIntoView({ block: "nearest" });
  try {
    const response = await send(asked, key, controller.signal), kind = response.headers.get("content-type");
    if (!talk) release("answer");
    if (asked.stream) {
      const text = await read(response, started, (grown) => (talk ? talk.grow(grown) : show(generated(grown))));
      talk?.end(text);
      return;
    }
    const file = /^(image|audio)/.test(kind) && (await response.blob());
    const answer = file ? { "content-type": kind, bytes: file.size } : await response.json();
    times(response, started);
    json(answer);
    if (talk) return talk.end(textOf(answer[0][form.text]));
    const drawn = await (file ? drawFile(file) : draw(answer, context));
    if (ours()) show(drawn);
  } catch (error) {
    if (!ours()) return;
    const stopped = error.name === "AbortError";
    if (talk) talk.fail(fault(error), stopped);
    else if (byId("answer").querySelector(".text")) byId("answer").append(fault(error));
    else show(fault(error));
    if (!stopped) json({ error: error.message });
  } finally {
    if (ours()) {
      running = null;
      busy(false);
      preview();
    }
  }
}

// -- events

byId("key-form").onsubmit = (event) => {
  event.preventDefault();
  key = byId("key").value;
  load();
};
byId("model").onchange = choose;
byId("form").onsubmit = run;
byId("form").oninput = byId("form").onchange = preview;
byId("stop").onclick = () => running?.abort();
byId("clear").onclick = begin;
byId("form").onkeydown = (event) => {
  const sends = event.target.id === "message" && !event.shiftKey && !event.isComposing;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey || sends)) run(event);
};
document.onpaste = ({ clipboardData: { files: [file] } }) => {
  if (file) (chat ?? fields)?.paste(file);
};
byId("copy").onclick = async () => {
  getSelection().selectAllChildren(byId("code"));  // without https a page may not copy by itself
  const copied = await navigator.clipboard?.writeText(code).then(() => true, () => false);
  byId("copied").textContent = copied ? "Copied." : "Press Ctrl+C.";
};

const languages = Object.entries(CODES).map(([name, writer]) => el("button", {
  type: "button",
  onclick: ({ target }) => {
    write = writer;
    languages.forEach((each) => each.setAttribute("aria-pressed", each === target));
    byId("copied").textContent = "";
    preview();
  },
}, name));
byId("languages").append(...languages);
languages[0].click();
load();
