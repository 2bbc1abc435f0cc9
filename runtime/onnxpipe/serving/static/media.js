// Recordings and their times: waveforms, the microphone, subtitles.
import { address, download, el, said } from "./dom.js";

const decoded = async (blob) => new OfflineAudioContext(1, 1, 16000).decodeAudioData(await blob.arrayBuffer());

/** A WAV file of one channel of float32. */
function wav(buffer) {
  const samples = buffer.getChannelData(0), rate = buffer.sampleRate, size = samples.byteLength;
  const head = [0x46464952, 36 + size, 0x45564157, 0x20746d66, 16, 0x10003, rate, 4 * rate, 0x200004, 0x61746164, size];
  return new File([new Uint32Array(head), samples], "recording.wav", { type: "audio/wav" });
}

/** A button that records with the microphone; `use` gets a WAV file. */
export function recorder(use) {
  const button = el("button", { type: "button" }, "Record"), note = el("span.hint", { role: "status" });
  let running = null;
  button.onclick = async () => {
    if (running) return running.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } }), parts = [];
      running = new MediaRecorder(stream);
      running.ondataavailable = (event) => parts.push(event.data);
      running.onstop = async () => {
        stream.getTracks().forEach((track) => track.stop());
        running = null;
        button.textContent = "Record";
        note.textContent = "";
        const recorded = await decoded(new Blob(parts)).catch(() => null);
        if (recorded) use(wav(recorded));
      };
      running.start();
      button.textContent = "Stop recording";
      note.textContent = "Recording …";
    } catch ({ message }) {
      const found = navigator.mediaDevices;
      note.textContent = found ? `No microphone: ${message}` : "The microphone needs https, or a local server.";
    }
  };
  return el("div.row", button, note);
}

/** A player under the waveform of a recording; `onTime` is called as it plays. */
export async function player(blob, group, onTime = () => {}) {
  const audio = el("audio", { controls: true, src: address(blob, group), "aria-label": "Recording" });
  const box = el("div", audio), count = 300, peaks = [], width = 1200, height = 168;
  const buffer = await decoded(blob).catch(() => null);  // what the browser does not read the server perhaps does
  const seconds = buffer?.duration ?? null;
  const canvas = el("canvas.wave", { width, height, role: "img", "aria-label": `Waveform of ${seconds} seconds` });
  if (buffer) {
    const samples = buffer.getChannelData(0), size = samples.length / count;
    for (let i = 0; i < count; i++) {
      const part = samples.subarray(i * size, (i + 1) * size);
      peaks.push(part.reduce((most, each) => Math.max(most, Math.abs(each)), 0));
    }
    canvas.onclick = (event) => { audio.currentTime = (event.offsetX / canvas.clientWidth) * seconds; };
    box.prepend(canvas);
  }
  const highest = Math.max(...peaks, 0.01), on = canvas.getContext("2d");
  const sync = () => {
    const now = audio.currentTime, style = getComputedStyle(document.documentElement);
    on.clearRect(0, 0, width, height);
    peaks.forEach((peak, i) => {
      const high = Math.max(3, (peak / highest) * 150);
      on.fillStyle = style.getPropertyValue(i / count < now / seconds ? "--accent" : "--edge");
      on.fillRect(i * 4, (height - high) / 2, 2.6, high);
    });
    onTime(now);
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  audio.ontimeupdate = audio.onseeked = sync;
  audio.onplay = function step() {
    sync();
    if (!audio.paused && !still.matches) requestAnimationFrame(step);
  };
  sync();
  return { box, audio, seconds };
}

// -- subtitles

const clock = (seconds) => new Date(Math.round(seconds * 1000)).toISOString().slice(11, 23);

/** Join words to lines that can be read, up to 42 characters or a sentence; segments stay as they are. */
export function cues(chunks, text, seconds) {
  const glue = chunks.map((each) => each.text).join("").trim() === text.trim() ? "" : " ", found = [];
  for (const { text: piece, timestamp: [from, to] } of chunks) {
    const last = found.at(-1), start = from ?? last?.end ?? 0, end = to ?? Math.max(start, seconds ?? start + 2);
    const joined = last && last.text + glue + piece;
    if (last && start - last.end < 1 && joined.length <= 42 && !/[.!?。！？]$/.test(last.text)) {
      Object.assign(last, { text: joined, end });
    } else found.push({ text: piece.trim(), start, end });
  }
  return found;
}

const written = (lines) => lines.map(({ text, start, end }, i) => {
  const plain = text.replace(/\s+/g, " ").replaceAll("-->", "→").trim();
  return `${i + 1}\n${clock(start)} --> ${clock(end)}\n${plain}\n`;
}).join("\n");
export const vtt = (lines) => `WEBVTT\n\n${written(lines)}`;
export const srt = (lines) => written(lines).replace(/^(\S+)\.(\d+ --> \S+)\.(\d+)$/gm, "$1,$2,$3");

/** The recording with the line that is said, and all words, each of which leads to its time. */
export async function transcript(answer, file, lang) {
  const chunks = (answer.chunks ?? []).filter((each) => each.timestamp);
  if (!file || !chunks.length) {
    return [file ? (await player(file, "answer")).box : "", said("p.text.big", answer.text, { lang })];
  }
  const caption = said("p.caption", "", { lang, "aria-hidden": "true" });  // the words say the same
  let lines = [], buttons = [];
  const { box, audio, seconds } = await player(file, "answer", (now) => {
    caption.textContent = lines.find((each) => each.start <= now && now < each.end)?.text ?? "";
    buttons.forEach((button, i) => {
      const [start, end] = chunks[i].timestamp;
      button.classList.toggle("now", start <= now && now < (end ?? Infinity));
    });
  });
  lines = cues(chunks, answer.text, seconds);
  buttons = chunks.map(({ text, timestamp: [start] }) => said("button", text.trim() || "·", {
    lang, type: "button", title: `${start} s`, onclick: () => { audio.currentTime = start + 0.001; },
  }));
  audio.ontimeupdate();
  return [
    box, caption, el("div.words", { role: "group", "aria-label": "Words" }, buttons),
    el("div.row", download("subtitles.srt", srt(lines), "SRT"), download("subtitles.vtt", vtt(lines), "VTT")),
  ];
}
