// The page `/`: the new device. Who was sent here by `/link` to log in is led back: as `/#link`, over reloads.

import { offerCodes } from './code-board.js';
import { drawLoggedIn, enter } from './log-in.js';
import * as session from './session.js';
import { to } from './ui.js';

const back = () => location.replace(to('link'));
if (location.hash === '#link') enter({ loggedIn: back, loggedOut: offerCodes, confirmed: back });
else enter({ loggedIn: drawLoggedIn, loggedOut: offerCodes });

session.events.addEventListener('signed-out', () => location.reload());
// Another tab of this browser has logged in: a login that goes on here would replace it.
session.events.addEventListener('signed-in', () => location.reload());
