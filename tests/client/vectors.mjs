// Runs the client on the files of static/vectors. Arguments: the client's folder, the vectors' folder.
// Prints one line for each vector: its file and name, and what came of it.

import { readFileSync } from 'node:fs';

const [, , client, vectors] = process.argv;
const load = (name) => JSON.parse(readFileSync(`${vectors}/${name}.json`, 'utf8'));
const say = (file, name, found) => process.stdout.write(`${JSON.stringify({ file, name, found })}\n`);
const { subtle } = globalThis.crypto;

const { rotatingCode, rotationKey } = await import(`${client}/rotating.js`);
for (const { name, seed, seconds, elapsedMs } of load('rotating-codes').vectors) {
  const code = await rotatingCode(subtle, await rotationKey(subtle, seed), Math.floor(elapsedMs / (seconds * 1000)));
  say('rotating-codes', `${name} ${elapsedMs}`, code);
}

const { DeviceKey } = await import(`${client}/device-key.js`);
const proofs = load('dpop');
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
for (const { name, method, url, authKey, nonce } of proofs.vectors) {
  const kept = { get: () => nonce ?? null, set: () => {} };
  const key = new DeviceKey(globalThis.crypto, kept, () => '/');
  const privateKey = await subtle.importKey('jwk', proofs.key, algorithm, false, ['sign']);
  const { d, ...jwk } = proofs.key;
  // A browser would have kept it.
  key._known = { pair: { privateKey }, jwk };
  say('dpop', name, await key.proofFor(method, new URL(url), authKey));
}

const { isTerminal, ProblemError } = await import(`${client}/errors.js`);
for (const { status, code } of load('errors').vectors) {
  say('errors', `${status} ${code}`, isTerminal(new ProblemError(code, status)) ? 'stop' : 'again');
}

const { backoff } = await import(`${client}/timing.js`);
const drawn = Math.random;
Math.random = () => 1;
for (const { failures, spread } of load('back-off').vectors) {
  say('back-off', `${failures} ${spread}`, backoff(failures, 30_000, spread ? 3000 : 1000));
}
// From here on no pause takes any time.
Math.random = () => 0;

const { createClient } = await import(`${client}/index.js`);

/** The server's side, told step by step. */
class Server {
  constructor() {
    this.sockets = [];
    this.calls = [];
    const server = this;
    this.WebSocket = class {
      constructor() {
        this.readyState = 0;
        this.sent = [];
        server.sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close() {
        this.readyState = 3;
      }
    };
    this.fetch = (url, { signal }) =>
      new Promise((resolve, reject) => {
        const call = { query: new URL(url).search, resolve };
        this.calls.push(call);
        signal.addEventListener('abort', () => {
          this.calls = this.calls.filter((other) => other !== call);
          reject(new Error('aborted'));
        });
      });
  }

  async until(find, what) {
    for (let tries = 0; tries < 2000; tries++) {
      const found = find();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`the client never ${what}`);
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  async take(step) {
    if (step.opens) {
      const socket = await this.until(() => this.socket?.readyState === 0 && this.socket, 'came back');
      socket.readyState = 1;
      socket.onopen();
      if (socket.sent[0]?.type !== 'auth' || !socket.sent[0].secret) throw new Error('no credential first');
    } else if (step.message) {
      const { message } = step;
      const pairing = message.pairing && whole(message.pairing);
      this.socket.onmessage({ data: JSON.stringify(pairing ? { ...message, pairing } : message) });
    } else if (step.closes) {
      const socket = await this.until(() => this.socket, 'connected');
      socket.readyState = 3;
      socket.onclose({ code: step.closes });
    } else {
      const { status, pairing, problem, query } = step.answers;
      const call = await this.until(() => this.calls.shift(), 'asked');
      if (query !== undefined && call.query !== query) throw new Error(`asked with ${call.query}, not ${query}`);
      const body = pairing ? JSON.stringify(whole(pairing)) : problem ? JSON.stringify(problem) : '<p>an error';
      call.resolve(new Response(body, { status }));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const whole = (members) => ({ id: 'A'.repeat(22), initiator: 'new_device', expiresIn: 120, ...members });

for (const { name, steps } of load('watching').vectors) {
  const server = new Server();
  const { fetch, WebSocket } = server;
  const watching = createClient({ baseUrl: 'http://localhost/', storage: null, fetch, WebSocket });
  const told = [];
  const pairing = whole({ version: 1, status: 'pending' });
  const watch = watching.watchPairing(pairing, { secret: 'secret' }, {
    onPairing: ({ version, status }) => told.push([version, status]),
  });
  try {
    for (const step of steps) await server.take(step);
    const { ended, stopped = null } = watch.getSnapshot();
    say('watching', name, { told, ended, stopped });
  } catch (error) {
    say('watching', name, String(error));
  }
  watch.stop();
}
Math.random = drawn;
process.exit();
