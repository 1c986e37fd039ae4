// Proving that a person is there: the browser's half of WebAuthn, and doing again what was refused for want of a proof.

import { addPasskey, passkeyOptions, ProblemError, stepUp, stepUpOptions } from './pairing.js';
import * as session from './session.js';
import { say } from './ui.js';

/** Not over plain http, but for this machine itself. */
export const knowsPasskeys = () => 'PublicKeyCredential' in globalThis && Boolean(navigator.credentials);

/**
 * Runs a call with a good authKey; where it needs a recent proof, asks for the passkey and runs it again.
 * @template T
 * @param {(authKey: string) => Promise<T>} call
 */
export async function withProof(call) {
  try {
    return await session.withKey(call);
  } catch (error) {
    const canProve = error.members?.methods?.includes('webauthn') && knowsPasskeys();
    if (error.code !== 'step_up_required' || !canProve) throw error;
  }
  say('Confirm with your passkey that it is you.');
  await prove();
  return session.withKey(call);
}

/** Asks for the passkey, at once. */
export async function prove() {
  const { publicKey } = await session.withKey(stepUpOptions);
  const { challenge, allowCredentials } = publicKey;
  const credential = await asked(() =>
    navigator.credentials.get({
      publicKey: { ...publicKey, challenge: bytes(challenge), allowCredentials: allowCredentials.map(described) },
    }),
  );
  await session.withKey((key) => stepUp({ credential }, key));
}

/** Makes a passkey in this browser and adds it to the account. */
export async function makePasskey(/** @type {string} */ name) {
  const { publicKey } = await withProof(passkeyOptions);
  const { challenge, user, excludeCredentials } = publicKey;
  const credential = await asked(() =>
    navigator.credentials.create({
      publicKey: {
        ...publicKey,
        challenge: bytes(challenge),
        user: { ...user, id: bytes(user.id) },
        excludeCredentials: excludeCredentials.map(described),
      },
    }),
  );
  return session.withKey((key) => addPasskey(name, credential, key));
}

/** What the browser says when it, or the person, does not want to. */
const PROBLEMS = { NotAllowedError: 'passkey_cancelled', InvalidStateError: 'passkey_known' };

async function asked(/** @type {() => Promise<any>} */ ceremony) {
  try {
    return asJson(await ceremony());
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new ProblemError(PROBLEMS[error.name] ?? 'passkey_unavailable', 0);
  }
}

/** As `PublicKeyCredential.toJSON` spells it, which browsers before 2025 lack. */
function asJson({ id, type, rawId, response }) {
  const parts = ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle'];
  const spelled = parts.filter((part) => response[part]).map((part) => [part, text(response[part])]);
  const transports = response.getTransports?.();
  return { id, type, rawId: text(rawId), response: { ...Object.fromEntries(spelled), transports } };
}

const described = (credential) => ({ ...credential, id: bytes(credential.id) });

const bytes = (/** @type {string} */ base64url) =>
  Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));

const text = (/** @type {ArrayBuffer} */ buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
