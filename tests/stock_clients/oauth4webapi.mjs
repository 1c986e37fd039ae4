// oauth4webapi: the same, request by request, with the signatures of id_tokens checked by the published keys.
import * as oauth from "oauth4webapi";

import { ask, done, id, issuer, redirectUri, say, secret } from "./conversation.mjs";

const insecure = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const client = { client_id: id };
const auth = oauth.ClientSecretBasic(secret);

const found = {};
for (const algorithm of ["oidc", "oauth2"]) {
  const answer = await oauth.discoveryRequest(url, { algorithm, ...insecure });
  found[algorithm] = await oauth.processDiscoveryResponse(url, answer);
}
const server = found.oidc;
say({ same: server.token_endpoint === found.oauth2.token_endpoint });

async function logIn(options) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const asked = new URL(server.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: id,
    redirect_uri: redirectUri,
    response_type: "code",
    scope: "openid profile email offline_access",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    nonce,
  }))
    asked.searchParams.set(name, value);
  const { callback } = await ask({ authorize: asked.href });
  const parameters = oauth.validateAuthResponse(server, client, new URL(callback), state);
  const request = () =>
    oauth.authorizationCodeGrantRequest(server, client, auth, parameters, redirectUri, verifier, options);
  const process = async (answer) => {
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, answer, {
      expectedNonce: nonce,
      requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(server, answer, insecure);
    return tokens;
  };
  return fresh(request, process);
}

// A server may ask for a nonce of its own first (RFC 9449, section 8).
async function fresh(request, process) {
  try {
    return await process(await request());
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return process(await request());
  }
}

const tokens = await logIn(insecure);
const { sub } = oauth.getValidatedIdTokenClaims(tokens);
const info = await oauth.userInfoRequest(server, client, tokens.access_token, insecure);
say({ user: await oauth.processUserInfoResponse(server, client, sub, info) });

const again = await oauth.refreshTokenGrantRequest(server, client, auth, tokens.refresh_token, insecure);
const refreshed = await oauth.processRefreshTokenResponse(server, client, again);
say({ same: oauth.getValidatedIdTokenClaims(refreshed).sub === sub });

async function active(token) {
  const answer = await oauth.introspectionRequest(server, client, auth, token, insecure);
  return (await oauth.processIntrospectionResponse(server, client, answer)).active;
}
say({ active: await active(refreshed.access_token) });
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, client, auth, refreshed.refresh_token, insecure),
);
say({ active: await active(refreshed.access_token) });

const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
const bound = await logIn({ DPoP, ...insecure });
say({ type: bound.token_type });
const boundInfo = () => oauth.userInfoRequest(server, client, bound.access_token, { DPoP, ...insecure });
say({ user: await fresh(boundInfo, (answer) => oauth.processUserInfoResponse(server, client, sub, answer)) });

const asked = await oauth.deviceAuthorizationRequest(server, client, auth, { scope: "openid" }, insecure);
const device = await oauth.processDeviceAuthorizationResponse(server, client, asked);
const poll = async () => {
  const answer = await oauth.deviceCodeGrantRequest(server, client, auth, device.device_code, insecure);
  return oauth.processDeviceCodeResponse(server, client, answer);
};
await poll().then(
  () => say({ error: null }),
  (error) => say({ error: error.error }),
);
await ask({ device: device.user_code, at: device.verification_uri, complete: device.verification_uri_complete });
say({ same: oauth.getValidatedIdTokenClaims(await poll()).sub === sub });
done();
