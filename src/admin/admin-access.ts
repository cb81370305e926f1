import { timingSafeEqual } from 'node:crypto';
import {
  type CanActivate,
  type ExecutionContext,
  ForbiddenException,
  Inject,
  Injectable,
  UnauthorizedException,
} from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';

interface ControlRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** What of Fastify's answer is used here. */
interface ControlAnswer {
  header(name: string, value: string): unknown;
}

/**
 * Who may use the control plane. With a token: who presents it. Without one the listener is on
 * loopback, and a web page in the operator's browser is the one stranger that reaches it: Host and
 * Origin tell it apart, even where DNS rebinding gives it our address.
 */
@Injectable()
export class AdminAccess implements CanActivate {
  constructor(@Inject(CONFIG) private readonly config: Config) {}

  canActivate(context: ExecutionContext): boolean {
    const http = context.switchToHttp();
    const { method, headers } = http.getRequest<ControlRequest>();
    const { token } = this.config.admin;
    if (token !== null && !isToken(headers['authorization'], token)) {
      // Clients that ask for a credential only when told to know by this (RFC 9110 §11.6.1).
      http.getResponse<ControlAnswer>().header('www-authenticate', 'Bearer realm="tidegate"');
      throw new UnauthorizedException(
        'this control plane needs the header "Authorization: Bearer <TIDEGATE_ADMIN_TOKEN>"',
      );
    }
    if (token === null && !isLoopbackHost(headers['host'])) {
      throw new ForbiddenException(
        'without TIDEGATE_ADMIN_TOKEN the control plane answers only to a loopback name in Host: localhost, 127.0.0.1 or [::1]',
      );
    }
    if (method !== 'GET' && method !== 'HEAD' && !isSameOrigin(headers)) {
      throw new ForbiddenException('a web page of another origin may not change anything here');
    }
    return true;
  }
}

function isToken(authorization: string | undefined, token: string): boolean {
  const given = Buffer.from(/^bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '');
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** Host without its port; an IPv6 address keeps its brackets. */
function isLoopbackHost(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name);
}

/** What is sent by no page of another origin: no browser says so, our own page, the operator's hand. */
const OWN_SITES = new Set([undefined, 'same-origin', 'none']);

/** Browsers send Origin with every POST; other clients send none. */
function isSameOrigin(headers: ControlRequest['headers']): boolean {
  const { origin, host } = headers as { origin?: string; host?: string };
  if (origin === undefined) return OWN_SITES.has(headers['sec-fetch-site']);
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}
