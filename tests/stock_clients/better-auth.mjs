// better-auth: an application with its generic OAuth plugin, and no database.
import { createServer } from "node:http";

import { betterAuth } from "better-auth";
import { toNodeHandler } from "better-auth/node";
import { genericOAuth } from "better-auth/plugins";

import { id, issuer, redirectUri, say, secret } from "./conversation.mjs";

const own = new URL(redirectUri);

const auth = betterAuth({
  baseURL: own.origin,
  secret: "only for this test, and long enough for it",
  telemetry: { enabled: false },
  plugins: [
    genericOAuth({
      config: [
        {
          providerId: "pairing",
          discoveryUrl: `${issuer}/.well-known/openid-configuration`,
          clientId: id,
          clientSecret: secret,
          scopes: ["openid", "profile", "email"],
          pkce: true,
        },
      ],
    }),
  ],
});

createServer(toNodeHandler(auth)).listen(own.port, own.hostname, () => say({ ready: true }));
process.stdin.on("end", () => process.exit(0));
