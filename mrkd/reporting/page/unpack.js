// Packed arrays (see pack.py) back to numbers.

const cache = new WeakMap();

/** The values of a packed array, times its scale: {shape, values}. Inflated at the first call. */
export function unpack(packed) {
  if (!cache.has(packed)) cache.set(packed, inflate(packed));
  return cache.get(packed);
}

async function inflate({ type, shape, scale, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const integers = type === "uint8" ? new Uint8Array(buffer) : new Uint16Array(buffer);
  return { shape, values: scale === 1 ? integers : Float32Array.from(integers, (value) => value * scale) };
}

/** Distributions (see pack_distributions): squares of the bytes in groups of `size`, each group summing to 1. */
export async function unpackDistributions(packed, size) {
  const { shape, values } = await unpack(packed);
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += size) {
    let sum = 0;
    for (let place = start; place < start + size; place++) sum += values[place] ** 2;
    for (let place = start; place < start + size; place++) result[place] = values[place] ** 2 / (sum || 1);
  }
  return { shape, values: result };
}

const pictures = new WeakMap();

/** The decoded picture of a sprite. */
export function picture(sprite) {
  if (!pictures.has(sprite)) {
    const image = new Image();
    image.src = sprite.url;
    pictures.set(sprite, image.decode().then(() => image));
  }
  return pictures.get(sprite);
}

/** Draw number `index` of a sprite into a square of a canvas, every pixel crisp. */
export async function drawSprite(context, sprite, index, x, y, side) {
  const image = await picture(sprite);
  const { size, columns } = sprite;
  context.imageSmoothingEnabled = false;
  context.drawImage(image, (index % columns) * size, Math.floor(index / columns) * size, size, size, x, y, side, side);
}
