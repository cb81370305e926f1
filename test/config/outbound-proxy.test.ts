import { describe, expect, it } from 'vitest';
import { describeConfig, publicConfig } from '../../src/config/describe.js';
import { config, load, mistakes } from './load.js';

const viaOf = (env: Readonly<Record<string, string>>, upstream = 'https://api.anthropic.com') =>
  config({ TIDEGATE_UPSTREAM: upstream, ...env }).upstreams[0]!.proxy?.href ?? null;

describe('the proxy of outgoing connections', () => {
  it('is what the environment says for the scheme, in lower case first', () => {
    expect(viaOf({})).toBeNull();
    expect(viaOf({ HTTPS_PROXY: 'http://a:1' })).toBe('http://a:1/');
    expect(viaOf({ HTTPS_PROXY: 'http://a:1', https_proxy: 'http://b:1' })).toBe('http://b:1/');
    expect(viaOf({ HTTPS_PROXY: 'http://a:1', https_proxy: ' ' })).toBe('http://a:1/');
    expect(viaOf({ HTTP_PROXY: 'http://a:1' }), 'for want of another').toBe('http://a:1/');
    expect(viaOf({ HTTPS_PROXY: 'http://a:1' }, 'http://api.example')).toBeNull();
  });

  it.each([
    ['*', true],
    ['api.anthropic.com', true],
    ['API.Anthropic.com', true],
    ['anthropic.com', true],
    ['.anthropic.com', true],
    ['*.anthropic.com', true],
    ['localhost, anthropic.com', true],
    ['localhost anthropic.com.', true],
    ['api.anthropic.com:443', true],
    ['api.anthropic.com:8443', false],
    ['*.api.anthropic.com', false],
    ['thropic.com', false],
    ['com.anthropic', false],
    ['::1', false],
  ])('is not used with NO_PROXY=%s: %s', (NO_PROXY, isNamed) => {
    const via = viaOf({ HTTPS_PROXY: 'http://a:1', NO_PROXY });
    expect(via === null).toBe(isNamed);
  });

  it('knows IPv6 addresses in NO_PROXY', () => {
    const via = (NO_PROXY: string) =>
      viaOf({ HTTP_PROXY: 'http://a:1', NO_PROXY }, 'http://[::1]:81');
    expect(['::1', '[::1]', '[::1]:81'].map(via)).toEqual([null, null, null]);
    expect(via('[::1]:82')).not.toBeNull();
  });

  it.each([
    ['127.0.0.1:24128', 'did you mean "http://127.0.0.1:24128"?'],
    ['localhost:3128', 'did you mean "http://localhost:3128"?'],
    ['proxy', 'did you mean "http://proxy"?'],
    ['socks5://127.0.0.1:1080', 'is a SOCKS proxy, which is not supported.'],
    ['ftp://a', 'is neither an http nor an https URL.'],
  ])('%s is a mistake with its name: %s', (HTTPS_PROXY, text) => {
    const [mistake, ...others] = mistakes({ HTTPS_PROXY });
    expect(others).toEqual([]);
    expect(mistake).toContain(`HTTPS_PROXY: "${HTTPS_PROXY}" is`);
    expect(mistake).toContain(text);
  });

  it('is shown without its password, and told as set', () => {
    const env = { https_proxy: 'http://me:hunter2@proxy:3128' };
    const loaded = config(env);
    expect(describeConfig(loaded)).toContain('\n  through         the proxy http://proxy:3128\n');
    expect(JSON.stringify(publicConfig(loaded))).not.toContain('hunter2');
    expect(load(env)).toMatchObject({ set: ['https_proxy'] });
    expect(mistakes({ https_proxy: 'me:hunter2@proxy:3128' })[0]).not.toContain('hunter2');
  });
});
