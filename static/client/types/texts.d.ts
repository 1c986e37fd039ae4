export declare const TEXTS: Readonly<{
    lead: "Scan this code with a device where you are logged in.";
    picture: "QR code that logs this device in";
    typed: "Cannot scan it? Type this code there:";
    left: "New code in {seconds} s";
    starting: "One moment…";
    offline: "No connection to the server. Trying again…";
    busy: "The server asks for a short pause. Trying again soon…";
    scanned: "Your other device has read the code. Look at it: it asks whether to let this device in.";
    number: "Number on your other device";
    numberHint: "Your other device shows three digits. Only ever type them on a page that you trust.";
    numberForm: "The number has three digits.";
    numberWrong: "That is another number. Tries left: {left}.";
    send: "Log in";
    cancel: "Cancel";
    loggingIn: "Logging you in…";
    confirm: "You are now {name}. Is that you?";
    yes: "Continue";
    no: "Not me";
    loggedIn: "You are logged in as {name}.";
    refused: "You are logged out again. Nothing was kept.";
    denied: "Your other device has refused.";
    cancelled: "The login was cancelled.";
    expired: "The code has run out.";
    failed: "That did not work.";
    again: "Show a new code";
}>;
export type Texts = Record<keyof typeof TEXTS, string>;
/** @typedef {Record<keyof typeof TEXTS, string>} Texts */
/**
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export declare const filled: (text: string, values: Record<string, string | number>) => string;
