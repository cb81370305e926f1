import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';

/** Makes certificates: X.509 by hand, as far as a test needs it, so that no `openssl` is needed. */
export class Authority {
  readonly #name: string;
  readonly #key: KeyObject;
  /** To be trusted, as PEM. */
  readonly certificate: string;

  constructor(name: string) {
    this.#name = name;
    this.#key = newKey();
    const isAuthority = extension('2.5.29.19', tlv(SEQUENCE, tlv(BOOLEAN, Buffer.of(0xff))), true);
    this.certificate = this.#issue(name, this.#key, isAuthority);
  }

  /** For a server that is reached by this IPv4 address. */
  issue(address: string): { readonly certificate: string; readonly key: string } {
    const key = newKey();
    const bytes = Buffer.from(address.split('.').map(Number));
    const names = extension('2.5.29.17', tlv(SEQUENCE, tlv(IP_ADDRESS, bytes)));
    return {
      certificate: this.#issue(address, key, names),
      key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }

  #issue(subject: string, key: KeyObject, extensions: Buffer): string {
    const content = tlv(
      SEQUENCE,
      tlv(VERSION, tlv(INTEGER, Buffer.of(2))),
      // Positive, and no two alike.
      tlv(INTEGER, Buffer.of(1), randomBytes(8)),
      ECDSA_WITH_SHA256,
      nameOf(this.#name),
      tlv(SEQUENCE, timeOf('2020'), timeOf('2120')),
      nameOf(subject),
      createPublicKey(key).export({ type: 'spki', format: 'der' }),
      tlv(EXTENSIONS, tlv(SEQUENCE, extensions)),
    );
    const signature = tlv(BIT_STRING, Buffer.of(0), sign('sha256', content, this.#key));
    const der = tlv(SEQUENCE, content, ECDSA_WITH_SHA256, signature);
    const lines = der.toString('base64').replace(/.{64}/g, '$&\n');
    return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
  }
}

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_ID = 0x06;
const UTF8_STRING = 0x0c;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;
const IP_ADDRESS = 0x87;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const ECDSA_WITH_SHA256 = tlv(SEQUENCE, objectId('1.2.840.10045.4.3.2'));

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;
}

/** DER: a tag, the length, the content. */
function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  const size = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = rest.flatMap((number) => {
    const digits = [number & 0x7f];
    for (let left = number >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return tlv(OBJECT_ID, Buffer.of(first * 40 + second, ...bytes));
}

function nameOf(common: string): Buffer {
  const value = tlv(UTF8_STRING, Buffer.from(common));
  return tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, objectId('2.5.4.3'), value)));
}

function timeOf(year: string): Buffer {
  return tlv(GENERALIZED_TIME, Buffer.from(`${year}0101000000Z`));
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  const flag = critical ? [tlv(BOOLEAN, Buffer.of(0xff))] : [];
  return tlv(SEQUENCE, objectId(id), ...flag, tlv(OCTET_STRING, value));
}
