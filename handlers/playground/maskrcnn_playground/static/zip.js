// Files in one archive, uncompressed (APPNOTE.TXT 6.3.10, without ZIP64). Knows no page.

const UTF8 = 0x0800;
const VERSION = 20;
const MIDNIGHT = 0;
const NEW_YEAR = 0x21;
const SIGNATURES = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50 };

/** An archive of files: [{name, bytes}]; names are unique. */
export function zipped(files) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const { name, bytes } of files) {
    const path = new TextEncoder().encode(name);
    const content = new Uint8Array(bytes);
    const about = [
      [VERSION, 2], [UTF8, 2], [0, 2], [MIDNIGHT, 2], [NEW_YEAR, 2], [crc(content), 4],
      [content.length, 4], [content.length, 4], [path.length, 2], [0, 2],
    ];
    parts.push(packed([[SIGNATURES.local, 4], ...about]), path, content);
    const more = [[0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]];
    directory.push(packed([[SIGNATURES.central, 4], [VERSION, 2], ...about, ...more]), path);
    offset += 30 + path.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = [
    [SIGNATURES.end, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2],
  ];
  return new Blob([...parts, ...directory, packed(end)], { type: "application/zip" });
}

/** Names, each made unique by a number where another is the same. */
export function unique(names) {
  const taken = new Set();
  return names.map((name) => {
    const [, stem, ending] = name.match(/^(.*?)(\.[^/]*)?$/s);
    let free = name;
    for (let i = 2; taken.has(free); i++) free = `${stem}-${i}${ending ?? ""}`;
    taken.add(free);
    return free;
  });
}

function packed(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [, length]) => sum + length, 0));
  let at = 0;
  for (const [value, length] of fields) {
    for (let i = 0; i < length; i++) bytes[at++] = (value >>> (8 * i)) & 0xff;
  }
  return bytes;
}

function crc(bytes) {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
