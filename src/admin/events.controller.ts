import {
  BadRequestException,
  Controller,
  Get,
  Inject,
  NotFoundException,
  Query,
  UseGuards,
} from '@nestjs/common';
import { duration } from '../config/parse.js';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { MOST_READ } from '../state/event-journal.js';
import { AdminAccess } from './admin-access.js';
import { orUnavailable } from './or-unavailable.js';
import { type Events, readCursor, viewPage } from './told-event.js';

type Given = string | string[] | undefined;

const DAY_MS = 86_400_000;
/** Below the patience of most clients and of proxies between. */
const WAIT = duration({ min: 0, max: 30_000 }, '25s');
const SINCE = duration({ min: 0, max: 366 * DAY_MS }, '1h');
const DEFAULT_SINCE_MS = DAY_MS;
const DEFAULT_LIMIT = 100;

/** What happened: once, or as it happens. */
@Controller('events')
@UseGuards(AdminAccess)
export class EventsController {
  constructor(@Inject(DATA_PLANE) private readonly plane: DataPlane) {}

  @Get()
  async events(
    @Query('scope') scope: Given,
    @Query('since') since: Given,
    @Query('limit') limit: Given,
    @Query('after') after: Given,
    @Query('wait') wait: Given,
  ): Promise<Events> {
    const { history, clock } = this.plane;
    const scopes = this.#scopesNamed(scope);
    const sinceMs = readDuration('since', since, SINCE) ?? DEFAULT_SINCE_MS;
    const waitMs = readDuration('wait', wait, WAIT) ?? 0;
    const most = readLimit(limit);
    const seen = after === undefined ? null : readCursor(String(after));
    if (after !== undefined && seen === null) {
      throw new BadRequestException('after: is not what "next" of an earlier answer said');
    }
    const page =
      seen === null
        ? history.events.since(scopes, clock.now() - sinceMs, most)
        : history.events.after(scopes, seen, waitMs);
    return viewPage(await orUnavailable("the state can't be read", page));
  }

  #scopesNamed(given: Given): readonly string[] {
    const { scopes } = this.plane.governor;
    if (given === undefined) return scopes;
    if (typeof given === 'string' && scopes.includes(given)) return [given];
    throw new NotFoundException(
      `there is no scope ${JSON.stringify(given)}; scopes: ${scopes.join(', ')}`,
    );
  }
}

function readDuration(
  name: string,
  given: Given,
  parser: ReturnType<typeof duration>,
): number | null {
  if (given === undefined) return null;
  const result = parser.parse(String(given));
  if (result.ok) return result.value;
  throw new BadRequestException(`${name}: ${result.message}; allowed: ${parser.allowed}`);
}

function readLimit(given: Given): number {
  if (given === undefined) return DEFAULT_LIMIT;
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1 && count <= MOST_READ) return count;
  throw new BadRequestException(`limit: is not a number from 1 to ${MOST_READ}`);
}
