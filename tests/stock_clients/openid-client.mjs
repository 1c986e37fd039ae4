// openid-client: discovery, code and PKCE, refresh, introspection, revocation, DPoP, device grant, log-out.
import * as client from "openid-client";

import { ask, done, id, issuer, redirectUri, say, secret } from "./conversation.mjs";

const insecure = { execute: [client.allowInsecureRequests] };
const config = await client.discovery(new URL(issuer), id, secret, undefined, insecure);

async function logIn(options) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: "openid profile email groups offline_access",
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
  });
  const { callback } = await ask({ authorize: url.href });
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true };
  return client.authorizationCodeGrant(config, new URL(callback), checks, undefined, options);
}

const tokens = await logIn();
const { sub } = tokens.claims();
say({ user: await client.fetchUserInfo(config, tokens.access_token, sub) });
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
say({ same: refreshed.claims().sub === sub && refreshed.refresh_token !== tokens.refresh_token });
say({ active: (await client.tokenIntrospection(config, refreshed.access_token)).active });
await client.tokenRevocation(config, refreshed.refresh_token);
say({ active: (await client.tokenIntrospection(config, refreshed.access_token)).active });

const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
const bound = await logIn({ DPoP });
say({ type: bound.token_type });
say({ user: await client.fetchUserInfo(config, bound.access_token, sub, { DPoP }) });
say({ same: (await client.refreshTokenGrant(config, bound.refresh_token, undefined, { DPoP })).claims().sub === sub });

const device = await client.initiateDeviceAuthorization(config, { scope: "openid profile offline_access" });
const polling = client.pollDeviceAuthorizationGrant(config, device);
await ask({ device: device.user_code, at: device.verification_uri, complete: device.verification_uri_complete });
const onDevice = await polling;
say({ same: onDevice.claims().sub === sub });

const out = { id_token_hint: onDevice.id_token, post_logout_redirect_uri: redirectUri, state: "left" };
const { callback } = await ask({ logout: client.buildEndSessionUrl(config, out).href });
say({ left: callback });
done();
