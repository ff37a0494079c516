// Arrays of a case (see viewer_arrays.py): from text to bytes, and planes out of volumes.

/** The bytes of an array {shape, codec, data, ...}: (D, H, W), or (D, H, W, 3) in colour. */
async function decodeArray(array) {
  return array.codec === "picture" ? decodePicture(array) : decodeExact(array);
}

async function decodeExact({ shape, data, delta }) {
  const text = atob(data);
  const packed = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) packed[place] = text.charCodeAt(place);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (delta) {
    const width = shape[2]; // each value is a difference to its left neighbour, modulo 256
    for (let start = 0; start < bytes.length; start += width) {
      for (let place = start + 1; place < start + width; place++) bytes[place] += bytes[place - 1];
    }
  }
  return bytes;
}

async function decodePicture({ shape, data, columns }) {
  const picture = new Image();
  picture.src = data;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  const [depth, height, width, colours = 1] = shape;
  const bytes = new Uint8Array(depth * height * width * colours);
  for (let slice = 0, to = 0; slice < depth; slice++) {
    const [left, top] = [(slice % columns) * width, Math.floor(slice / columns) * height];
    const tile = pen.getImageData(left, top, width, height).data;
    for (let from = 0; from < tile.length; from += 4) {
      for (let colour = 0; colour < colours; colour++) bytes[to++] = tile[from + colour];
    }
  }
  return bytes;
}

/** The plane of slice `index` across axes[0], with rows along axes[1] and columns along axes[2]. */
function planeOf(bytes, shape, axes, index) {
  const colours = shape[3] ?? 1;
  const steps = [shape[1] * shape[2] * colours, shape[2] * colours, colours];
  const [height, width] = [shape[axes[1]], shape[axes[2]]];
  const start = index * steps[axes[0]];
  if (axes[0] === 0) return { width, height, bytes: bytes.subarray(start, start + steps[0]) };
  const found = new Uint8Array(height * width * colours);
  for (let row = 0, to = 0; row < height; row++) {
    let from = start + row * steps[axes[1]];
    for (let column = 0; column < width; column++, from += steps[axes[2]]) {
      for (let colour = 0; colour < colours; colour++) found[to++] = bytes[from + colour];
    }
  }
  return { width, height, bytes: found };
}
