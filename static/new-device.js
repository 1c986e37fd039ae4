// The page `/`: the new device.

import { offerCodes } from './code-board.js';
import { drawLoggedIn, enter } from './log-in.js';
import * as session from './session.js';

enter({ loggedIn: drawLoggedIn, loggedOut: offerCodes });

session.events.addEventListener('signed-out', () => location.reload());
// Another tab of this browser has logged in: a login that goes on here would replace it.
session.events.addEventListener('signed-in', () => location.reload());
