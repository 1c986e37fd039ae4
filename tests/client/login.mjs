// A new device in Node.js: prints its pairing, waits, and prints each state and what it logs in with.
// Arguments: the address of the client's index.js, that of the server, and how to wait.

const [, , module, baseUrl, way] = process.argv;
const { createClient } = await import(module);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

// A storage that refuses everything, as in a browser that keeps nothing.
const storage = new Proxy({}, { get: () => () => { throw new Error('full'); } });
const client = createClient({ baseUrl, storage });
if (way === 'flow') {
  const { createInterface } = await import('node:readline');
  const flow = client.loginFlow({ deviceName: 'Node', deviceCode: 'node', keys: 'body' });
  flow.subscribe((state) => say({ ...state, error: state.error?.code }));
  const input = createInterface({ input: process.stdin });
  // A number for the login, or the name of what a person presses.
  input.on('line', async (line) => {
    await (line in flow ? flow[line]() : flow.enterNumber(line));
    say({ done: line });
  });
  flow.start();
  await new Promise((resolve) => input.on('close', resolve));
  flow.stop();
  process.exit();
}

const by = { secret: client.newSecret(), device: { 'X-Device-Code': 'node', 'X-Device-Name': 'Node' } };
const pairing = await client.createPairing(by, { qr: 'none' });
say(pairing);

if (way === 'loop') {
  const watch = client.watchPairing(pairing, by);
  watch.onTransport = (transport) => say({ transport });
  for await (const { id, status } of watch) {
    say({ status });
    if (status === 'approved') say(await client.logIn(id, by.secret));
  }
} else {
  const { get } = await import('svelte/store');
  const { effect, shallowRef } = await import('vue');
  const watch = client.watchPairing(pairing, by);
  const drawn = shallowRef();
  const unsubscribe = watch.subscribe((state) => (drawn.value = state));
  const before = watch.getSnapshot();
  say({ same: before === watch.getSnapshot() && get(watch) === before && drawn.value === before });
  await new Promise((resolve) =>
    effect(() => {
      say({ status: drawn.value.pairing.status });
      if (drawn.value.pairing.status === 'approved') resolve();
    }),
  );
  unsubscribe();
  await client.logIn(pairing.id, by.secret);
  // Nobody is told any more, and the process ends by itself once the watch has heard of the end.
  await new Promise((resolve) => watch.subscribe(({ ended }) => ended && resolve()));
  say({ ended: watch.getSnapshot().pairing.status, drawn: drawn.value.pairing.status });
}
