// How a client here talks with its test, a JSON object a line: it says what a person would be shown, and hears where
// the browser came back to.
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const [, , issuer, id, secret, redirectUri] = process.argv;

export function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/** What the test answers to `question`; it is a person with a browser and a logged-in phone. */
export async function ask(question) {
  say(question);
  const { value, done } = await lines.next();
  if (done) throw new Error("the test has gone");
  return JSON.parse(value);
}

export function done() {
  say({ done: true });
  process.exit(0);
}
