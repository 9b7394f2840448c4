// Where the vendored libraries meet: everything else imports them from here.
import { h, render } from "../vendor/preact.mjs";
import htm from "../vendor/htm.mjs";

export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.mjs";
export { render };

// Values become text nodes and properties, never markup: what a record says cannot run.
export const html = htm.bind(h);
