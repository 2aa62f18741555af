// The terminal page: one named terminal of a workspace, over Kubernetes' channels in a WebSocket.
// The page knows which byte of the terminal's output it has shown, and after a cut connection
// asks for what follows: nothing is lost, nothing is shown twice.
"use strict";

const PROTOCOL = "v5.channel.k8s.io";
const STDIN = 0, STDOUT = 1, STATUS = 3, RESIZE = 4, POSITION = 5;
const FIRST_PAUSE = 500, LONGEST_PAUSE = 10000;

const [namespace, workspace] = location.pathname.split("/").slice(2, 4).map(decodeURIComponent);
const state = document.getElementById("state");
const encoder = new TextEncoder(), decoder = new TextDecoder();
const terminal = new Terminal({ cursorBlink: true, scrollback: 10000, fontSize: 14 });
const fit = new FitAddon.FitAddon();

let socket = null;
let position = null;
let pause = FIRST_PAUSE;

function say(text, good) {
  state.textContent = text;
  state.dataset.good = String(good);
}

function send(channel, bytes) {
  if (socket === null || socket.readyState !== WebSocket.OPEN) return;
  const message = new Uint8Array(bytes.length + 1);
  message[0] = channel;
  message.set(bytes, 1);
  socket.send(message);
}

function address() {
  const query = new URLSearchParams({ terminal: "main", cols: terminal.cols, rows: terminal.rows });
  if (position !== null) {
    query.set("since", position.offset);
    query.set("id", position.terminal);
  }
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/workspaces/${encodeURIComponent(workspace)}/attach`;
  return `${scheme}//${location.host}${path}?${query}`;
}

function connect() {
  const mine = new WebSocket(address(), PROTOCOL);
  let ended = false;
  mine.binaryType = "arraybuffer";
  socket = mine;
  mine.onopen = () => {
    pause = FIRST_PAUSE;
    say("connected", true);
    resize();
  };
  mine.onmessage = (event) => {
    if (typeof event.data === "string") return;
    const bytes = new Uint8Array(event.data);
    const payload = bytes.subarray(1);
    switch (bytes[0]) {
      case STDOUT:
        terminal.write(payload);
        if (position !== null) position.offset += payload.length;
        break;
      case POSITION: {
        const now = JSON.parse(decoder.decode(payload));
        if (position !== null && position.terminal !== now.terminal) terminal.reset();
        position = now;
        break;
      }
      case STATUS:
        ended = final(JSON.parse(decoder.decode(payload)));
        break;
    }
  };
  mine.onclose = () => {
    if (socket !== mine || ended) return;
    again();
  };
}

// Whether the status at the end of the stream means that there is nothing to come back to.
function final(status) {
  const causes = (status.details && status.details.causes) || [];
  const code = causes.find((cause) => cause.reason === "ExitCode");
  if (status.status === "Success" || code) {
    say(`the shell ended${code ? ` with ${code.message}` : ""}; reload for another one`, false);
    return true;
  }
  if (status.code === 502 || status.code === 503) return false;
  say(status.message || "ended", false);
  return true;
}

async function again() {
  say("connection lost; coming back", false);
  await new Promise((done) => setTimeout(done, pause));
  pause = Math.min(pause * 2, LONGEST_PAUSE);
  // A WebSocket does not tell why it was refused.
  const session = await fetch(sessionAddress()).catch(() => null);
  if (session !== null && session.status === 401) return loggedOut();
  connect();
}

function sessionAddress() {
  return `/auth/session?${new URLSearchParams({ namespace, workspace })}`;
}

function loggedOut() {
  say(`not logged in; run: kubectl berth open --terminal ${workspace} -n ${namespace}`, false);
}

function resize() {
  fit.fit();
  send(RESIZE, encoder.encode(JSON.stringify({ Width: terminal.cols, Height: terminal.rows })));
}

function keys(event) {
  if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
  if (event.code === "KeyC") {
    event.preventDefault();
    navigator.clipboard.writeText(terminal.getSelection()).catch(() => say("the browser allows no copying", false));
    return false;
  }
  // The browser pastes by itself, and the terminal takes that.
  return event.code !== "KeyV";
}

async function logIn() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (ticket !== null) {
    // Used or not, it is not left in the address or the history.
    history.replaceState(null, "", location.pathname);
    await fetch("/auth/ticket", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ticket }),
    });
  }
  return (await fetch(sessionAddress())).ok;
}

async function start() {
  document.title = `${workspace} (${namespace})`;
  document.getElementById("name").textContent = `${namespace}/${workspace}`;
  terminal.loadAddon(fit);
  terminal.open(document.getElementById("terminal"));
  terminal.attachCustomKeyEventHandler(keys);
  terminal.onData((text) => send(STDIN, encoder.encode(text)));
  terminal.onBinary((text) => send(STDIN, Uint8Array.from(text, (each) => each.charCodeAt(0))));
  fit.fit();
  new ResizeObserver(resize).observe(document.getElementById("terminal"));
  document.getElementById("full").onclick = () =>
    document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
  terminal.focus();
  if (await logIn().catch(() => false)) connect();
  else loggedOut();
}

start();
