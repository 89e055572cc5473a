// From a transcript to token ids: mtab.text again, in the browser.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";

/**
 * The function text -> {ids, truncated} of a tokenizer.json. The ids in `before` and `after` stand around each
 * text, and count among the `most` that there may be.
 */
export function tokenizerOf(description, { before, after, most }) {
  // What looks like a special token in a text is the characters that it is: nothing else finds them there.
  const added_tokens = description.added_tokens.filter((token) => !token.special);
  const tokenizer = new Tokenizer({ ...description, added_tokens }, {});
  const room = most - before.length - after.length;
  return (text) => {
    const { ids } = tokenizer.encode(text, { add_special_tokens: false });
    return { ids: [...before, ...ids.slice(0, room), ...after], truncated: ids.length > room };
  };
}
