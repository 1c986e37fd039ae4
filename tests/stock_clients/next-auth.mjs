// next-auth: an application's `pages/api/auth/[...nextauth].js`, behind a server that hands it requests as Next.js does.
// `provider.mjs` beside it holds what `pairing-ws client add --for next-auth` prints, pasted.
import { createServer } from "node:http";
import { createRequire } from "node:module";

import { redirectUri, say } from "./conversation.mjs";
import provider from "./provider.mjs";

// As a bundler takes it: it is CommonJS.
const { default: NextAuth } = createRequire(import.meta.url)("next-auth");
const own = new URL(redirectUri);
process.env.NEXTAUTH_URL = own.origin;

const options = { secret: "only for this test", providers: [provider] };

const asked = (pairs) => Object.fromEntries(new URLSearchParams(pairs));

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, own);
  let body = "";
  for await (const part of request) body += part;
  request.query = { ...Object.fromEntries(searchParams), nextauth: pathname.split("/").slice(3) };
  request.body = asked(body);
  request.cookies = asked((request.headers.cookie ?? "").split("; ").join("&"));
  response.status = (code) => Object.assign(response, { statusCode: code });
  response.json = (value) => response.end(JSON.stringify(value));
  response.send = (value) => (typeof value === "object" ? response.json(value) : response.end(value));
  response.redirect = (code, where) => {
    response.writeHead(code, { Location: where });
    response.end();
  };
  await NextAuth(request, response, options);
}).listen(own.port, own.hostname, () => say({ ready: true }));
process.stdin.on("end", () => process.exit(0));
