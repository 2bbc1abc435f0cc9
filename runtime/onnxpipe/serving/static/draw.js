// Draw answers. What an answer is shows in its shape, so that tasks of users' own are drawn as well.
import { address, download, el, hue, label, said } from "./dom.js";
import { player, transcript } from "./media.js";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isList = (value) => Array.isArray(value) && value.length > 0;
const has = (rows, ...keys) => isList(rows) && rows.every((row) => isObject(row) && keys.every((key) => key in row));
const isNumber = (value) => typeof value === "number";
const round = (value) => String(Number(value.toPrecision(4)));
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const fileOf = (base64, type) => new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))], { type });
const bitmap = (file) => createImageBitmap(file).catch(() => null);  // upright, as the server sees it
const empty = (text) => el("p.empty", text);
const MOST = 50;

/** Bars: `rows` have a name, a score, perhaps a detail; with `hues` they have the colours of what is drawn. */
function bars(rows, hues = "") {
  const scores = rows.map((row) => row.score ?? 0);
  const most = scores.every((each) => each >= 0 && each <= 1) ? 1 : Math.max(...scores.map(Math.abs));
  return [
    el("ol.bars", rows.slice(0, MOST).map(({ name, score, detail }) => el("li", said("span", name), isNumber(score) ? [
      el("span.value", most === 1 ? percent(score) : round(score)),
      el(`div.track.${hues}`, { "--hue": hue(name), "--part": `${(100 * Math.max(0, score)) / most}%` }, el("i")),
    ] : "", detail ? said("span.detail", detail) : ""))),
    rows.length > MOST ? el("p.hint", `The first ${MOST} of ${rows.length} are listed.`) : "",
  ];
}

// -- images

const colour = (name, light, alpha = 1) => `hsl(${hue(name)} 80% ${light}% / ${alpha})`;

function canvasOf(width, height, title) {
  const canvas = el("canvas", { width, height, role: "img", "aria-label": title });
  return [el("div.stage", canvas), canvas.getContext("2d", { willReadFrequently: true })];
}

/** A canvas with an image, over which `paint(on, scale, width, height)` draws. */
async function stage(file, paint, title = "The answer, drawn over the image") {
  const image = file && (await bitmap(file));
  if (!image) return empty("The browser cannot show this image.");
  const longest = Math.max(image.width, image.height), scale = Math.min(1200, Math.max(480, longest)) / longest;
  const size = [image.width * scale, image.height * scale].map(Math.ceil), [node, on] = canvasOf(...size, title);
  on.imageSmoothingEnabled = scale < 2;
  on.drawImage(image, 0, 0, ...size);
  paint(on, scale, ...size);
  return node;
}

async function boxes(rows, { file }) {
  const found = rows.map((row) => ({ ...row, name: row.label ?? row.text ?? row.answer ?? "" }));
  const drawn = await stage(file, (on, scale, width) => {
    const size = Math.max(12, Math.round(width / 36)), high = size * 1.45;
    on.font = `600 ${size}px sans-serif`;
    on.lineWidth = Math.max(2, width / 320);
    for (const [name, box] of found.flatMap(({ name, box, boxes = [box] }) => boxes.map((each) => [name, each]))) {
      const [left, top, right, bottom] = Object.values(box).map((each) => each * scale);
      on.strokeStyle = colour(name, 45);
      on.strokeRect(left, top, right - left, bottom - top);
      if (rows.length > 40) continue;  // labels would hide the image
      const wide = on.measureText(name).width + size * 0.7;
      const x = Math.max(0, Math.min(left, width - wide)), y = Math.max(0, top - high);
      on.fillStyle = colour(name, 26);
      on.fillRect(x, y, wide, high);
      on.fillStyle = "#fff";
      on.fillText(name, x + size * 0.35, y + size * 1.08);
    }
  });
  return [drawn, rows.length ? bars(found, "hue") : empty("Nothing was found above the threshold.")];
}

/** Change the pixels of a canvas: `change(red)` gives the four values of each. */
function recolour(on, width, height, change) {
  const pixels = on.getImageData(0, 0, width, height), { data } = pixels;
  for (let i = 0; i < data.length; i += 4) data.set(change(data[i]), i);
  on.putImageData(pixels, 0, 0);
}

async function masks(rows, { file }) {
  const layers = await Promise.all(rows.map(async ({ mask, label: name, score }) => {
    const layer = await bitmap(fileOf(mask, "image/png")), { width, height } = layer;
    const canvas = new OffscreenCanvas(width, height), on = canvas.getContext("2d");
    let covered = 0;
    on.drawImage(layer, 0, 0);
    recolour(on, width, height, (white) => [0, 0, 0, (covered += white / 255) && white]);
    on.globalCompositeOperation = "source-in";
    on.fillStyle = colour(name, 50, 0.6);
    on.fillRect(0, 0, width, height);
    const share = covered / (width * height);
    return { canvas, name, score: score ?? share, detail: `${percent(share)} of the image` };
  }));
  const drawn = await stage(file, (on, scale, ...size) => {
    for (const { canvas } of layers) on.drawImage(canvas, 0, 0, ...size);
  });
  return [drawn, bars(layers, "hue")];
}

async function depth({ depth: base64 }) {
  const drawn = await stage(fileOf(base64, "image/png"), (on, scale, ...size) => recolour(on, ...size, (grey) => {
    const value = grey / 255;  // black, violet, orange, yellow: the lightness grows all the way
    return [255 * Math.sqrt(value), 255 * value ** 3, 255 * Math.max(0, Math.sin(6.283 * value)), 255];
  }), "Depth");
  return [drawn, el("p.hint", "Dark is the least, bright is the most.")];
}

async function matches(rows, { files }) {
  const images = await Promise.all(files.map(bitmap)), height = 480;
  const widths = images.map((each) => (each.width * height) / each.height), lefts = [0, widths[0] + 12];
  const title = `${rows.length} points that both images have`;
  const [node, on] = canvasOf(lefts[1] + widths[1], height, title);
  images.forEach((image, i) => on.drawImage(image, lefts[i], 0, widths[i], height));
  rows.slice(0, 300).forEach((row, at) => {
    const places = images.map((image, i) => {
      const { x, y } = row[`keypoint_image_${i}`], scale = height / image.height;
      return [lefts[i] + x * scale, y * scale];
    });
    on.strokeStyle = on.fillStyle = `hsl(${at * 47} 90% 50%)`;
    on.beginPath();
    places.forEach((place) => on.lineTo(...place));
    on.stroke();
    places.forEach(([x, y]) => on.fillRect(x - 3, y - 3, 6, 6));
  });
  return [node, el("p.hint", `${title}${rows.length > 300 ? "; the best 300 are drawn" : ""}.`)];
}

const images = (files) => files.map((file) => [
  el("div.stage", el("img", { src: address(file, "answer"), alt: "The image that the model made" })),
  el("div.row", download("answer.png", file, "Download")),
]);

// -- texts

/** A text with marked spans; their places count characters as Python does. */
function spans(text, rows) {
  const letters = [...text], parts = [], cut = (from, to) => letters.slice(from, to).join("");
  let at = 0;
  for (const { start, end, name } of [...rows].sort((a, b) => a.start - b.start)) {
    if (start < at || end <= start) continue;
    const mark = el("mark", { "--hue": hue(name) }, cut(start, end), name ? el("small", name) : "");
    parts.push(cut(at, start), mark);
    at = end;
  }
  return el("p.spans", { dir: "auto", lang: "" }, parts, cut(at));
}

export function textOf(value) {
  const last = Array.isArray(value) ? value.at(-1).content : value;
  return Array.isArray(last) ? last.map((part) => part.text ?? "").join("") : String(last ?? "");
}

/** A generated text; the prompt that it begins with is dimmed. */
export function generated(text, prompt = "", lang = "") {
  const known = text.startsWith(prompt) ? prompt : "";
  return said("p.text.big", "", { lang }, el("span.prompt", known), el("span.cursor", text.slice(known.length)));
}

// -- tables, numbers, other data

function grid(rows, names, hits = []) {
  const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 300);
  const hit = (y, x) => hits.some(([row, column]) => row === y && column === x);
  return el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Table" }, el("table",
    el("thead", el("tr", names.map((name) => said("th", name, { scope: "col" })))),
    el("tbody", rows.slice(0, 500).map((row, y) =>
      el("tr", row.map((cell, x) => said(hit(y, x) ? "td.hit" : "td", shown(cell))))))));
}

function tableAnswer({ answer, coordinates, aggregator }, columns = {}) {
  const names = Object.keys(columns), rows = columns[names[0]]?.map((_, y) => names.map((name) => columns[name][y]));
  const how = aggregator ? el("p.hint", `Aggregator: ${aggregator}`) : "";
  return [said("p.text.big", answer), how, rows ? grid(rows, names, coordinates) : ""];
}

function vectors(value) {
  const flat = value.flat(Infinity), shape = [], norm = Math.sqrt(flat.reduce((sum, each) => sum + each * each, 0));
  for (let each = value; Array.isArray(each); [each] = each) shape.push(each.length);
  return [
    el("p.text.big", `${shape.join(" × ")} numbers, of norm ${round(norm)}`),
    el("p.hint", `${flat.slice(0, 12).map(round).join(", ")}${flat.length > 12 ? ", …" : ""}`),
  ];
}

/** Any object; of answers to questions the probabilities as bars. */
const fields = (answer) => Object.entries(answer).flatMap(([name, value]) => {
  const head = said("h3", label(name || " ")), { choice, score, legend, noul, probabilities } = value ?? {};
  const shares = isNumber(noul) ? { yes: noul, no: 1 - noul } : probabilities;
  if (!shares) return [head, said("p.text", typeof value === "string" ? value : JSON.stringify(value).slice(0, 2000))];
  const rows = Object.entries(shares).map(([key, share]) => ({ name: legend?.[key] ?? key, score: share }));
  return [head, said("p.big", choice ?? score ?? ""), bars(rows)];
});

// -- which of them

/** Draw an answer that is a file: an image or a recording. */
export async function drawFile(file) {
  if (file.type.startsWith("image/")) return images([file]);
  return [(await player(file, "answer")).box, el("div.row", download("answer.wav", file, "Download"))];
}

/** Draw the JSON of an answer; `context` has what was asked, and the files. */
export async function draw(answer, context) {
  const { form, values, parameters, file } = context, text = values.null ?? values.context;
  const lang = /^[a-z]{2,3}(?![a-z])/.exec(parameters.tgt_lang ?? parameters.language ?? "")?.[0] ?? "";
  let rows = answer;
  while (rows?.length === 1 && Array.isArray(rows[0]) && !isNumber(rows[0][0])) [rows] = rows;
  const list = isObject(rows) ? [rows] : rows;
  const named = (name) => list.map((row) => ({ ...row, name: name(row) }));
  if (has(list, form.text)) return list.map((row) => generated(textOf(row[form.text]), text, lang));
  if (has(rows, "keypoint_image_0")) return matches(rows, context);
  if (has(rows, "mask")) return masks(rows, context);
  if (rows?.masks) {
    return masks(rows.masks.map((mask, i) => ({ mask, score: rows.scores[i], label: `Mask ${i + 1}` })), context);
  }
  if (has(rows, "box") || has(rows, "boxes")) return boxes(rows, context);
  if (rows?.lines) return [await boxes(rows.lines, context), el("h3", "Text"), said("p.text", rows.text)];
  if (has(rows, "word", "score")) {
    const found = named((row) => row.entity_group ?? row.entity);
    const words = bars(found.map(({ word, score, name }) => ({ name: word, score, detail: name })));
    return [found.every((row) => isNumber(row.start)) ? spans(text, found) : "", words];
  }
  if (has(list, "answer", "start") && values.context) {
    return [spans(text, [{ ...list[0], name: "" }]), bars(named((row) => row.answer || "No answer"))];
  }
  if (has(rows, "score")) {
    const found = named((row) => row.label ?? row.document ?? row.answer ?? row.token_str ?? row.index ?? "");
    return bars(found.map((row) => ({ ...row, detail: row.sequence })));
  }
  if (rows?.depth) return depth(rows);
  if (rows?.audio) return drawFile(fileOf(rows.audio, "audio/wav"));
  if (typeof rows?.text === "string") return transcript(rows, file, lang);
  if (has(list, "answer")) return tableAnswer(list[0], values.table);
  if (typeof rows === "string") return generated(rows, "", lang);
  if (isObject(rows)) return fields(rows);
  if (!isList(rows)) return file?.type.startsWith("image/") ? boxes([], context) : empty("Nothing was found.");
  if (form.file && typeof rows[0] === "string") return images(rows.map((each) => fileOf(each, "image/png")));
  if (values.sentences) return bars(rows.map((score, i) => ({ name: values.sentences[i], score })));
  if (rows.flat(Infinity).every(isNumber)) return vectors(rows);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return grid(rows.map((row) => names.map((name) => row[name])), names);
}
