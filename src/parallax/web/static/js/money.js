// Exact money: the same reading and the same one rounding as the server's, in whole numbers. No floats.
//
// A parsed value is { units, scale }: units / 10^scale, units a BigInt.

const PLAIN = /^[0-9]+(?:\.[0-9]+)?$/;
const GROUPED = /^[0-9]{1,3}(?:([, \u00a0\u202f])[0-9]{3}(?:\1[0-9]{3})*)(?:\.[0-9]+)?$/;
const MAX_WHOLE = 15;

export class AmountInvalid extends Error {}

function decimals(code, digits) {
  return digits === 0 ? `${code} has no decimals.` : `${code} has ${digits} decimal${digits === 1 ? "" : "s"}.`;
}

/** Read what a person wrote as an amount of a currency. Throws AmountInvalid with the words to show. */
export function parseAmount(text, code, digits) {
  let written = text.trim();
  if (!written) throw new AmountInvalid("Enter an amount.");
  if (written.length > 64) throw new AmountInvalid("That is too long for an amount.");
  if (GROUPED.test(written)) written = written.replace(/[, \u00a0\u202f]/g, "");
  if (!PLAIN.test(written)) throw new AmountInvalid("Use digits with a point for decimals, like 1250.50.");
  const [whole, fraction = ""] = written.split(".");
  if (whole.replace(/^0+/, "").length > MAX_WHOLE) {
    throw new AmountInvalid(`At most ${MAX_WHOLE} digits before the point.`);
  }
  if (fraction.length > digits) throw new AmountInvalid(decimals(code, digits));
  const value = { units: BigInt(whole + fraction), scale: fraction.length };
  if (value.units <= 0n) throw new AmountInvalid("The amount must be more than zero.");
  return value;
}

/** A plain decimal string, as the server writes rates. */
export function parseRate(text) {
  const [whole, fraction = ""] = text.split(".");
  return { units: BigInt(whole + fraction), scale: fraction.length };
}

const power = (scale) => 10n ** BigInt(scale);

/** What `sent` buys at `rate`: multiplied exactly, rounded once to `digits`, half away from zero. */
export function convert(sent, rate, digits) {
  const units = sent.units * rate.units;
  const scale = sent.scale + rate.scale;
  if (scale <= digits) return { units: units * power(digits - scale), scale: digits };
  const step = power(scale - digits);
  return { units: (units * 2n + step) / (step * 2n), scale: digits };
}

/** The least amount, in units of `fromDigits`, that buys at least `wanted`. */
export function amountFor(wanted, rate, fromDigits, toDigits) {
  // (wanted − half a unit) / rate, rounded up; a product is then rounded to what is wanted. Over one denominator:
  const scale = Math.max(wanted.scale, toDigits);
  const doubled = wanted.units * power(scale - wanted.scale) * 2n - power(scale - toDigits);
  const numerator = doubled * power(rate.scale) * power(fromDigits);
  const denominator = 2n * power(scale) * rate.units;
  const units = numerator <= 0n ? 0n : (numerator + denominator - 1n) / denominator;
  return { units: units > 1n ? units : 1n, scale: fromDigits };
}

/** Plain digits, all `scale` decimals written. */
export function plain({ units, scale }) {
  const digits = units.toString().padStart(scale + 1, "0");
  return scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}
