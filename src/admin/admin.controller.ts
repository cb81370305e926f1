import {
  BadRequestException,
  Controller,
  Get,
  Header,
  HttpCode,
  Inject,
  NotFoundException,
  Post,
  Query,
  UseGuards,
} from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { Governor } from '../governor/governor.js';
import { readVersion } from '../platform/version.js';
import { AdminAccess } from './admin-access.js';
import { homePage } from './home-page.js';
import { orUnavailable } from './or-unavailable.js';
import { type Status, statusOf } from './status.js';

/** What the operator sees and does. `scope` may be left out where there is only one. */
@Controller()
@UseGuards(AdminAccess)
export class AdminController {
  readonly #version = readVersion();

  constructor(
    @Inject(DATA_PLANE) private readonly plane: DataPlane,
    @Inject(Governor) private readonly governor: Governor,
  ) {}

  /** Where a person with a browser arrives first. */
  @Get()
  @Header('content-type', 'text/plain; charset=utf-8')
  home(): Promise<string> {
    return homePage(this.plane, this.#version);
  }

  @Get('status')
  async status(): Promise<Status> {
    const views = this.governor.scopes.map((scope) => this.governor.view(scope));
    // Where a shared store is away, what was known of it before may be wrong by now.
    const read = await orUnavailable("the state can't be read", Promise.all(views));
    return statusOf(this.plane, this.#version, read);
  }

  @Post('cooldown/clear')
  @HttpCode(200)
  clearCooldown(@Query('scope') scope?: string | string[]): Promise<Status> {
    return this.#change(scope, (name) => this.governor.clearCooldown(name));
  }

  @Post('budget/reset')
  @HttpCode(200)
  resetBudget(@Query('scope') scope?: string | string[]): Promise<Status> {
    return this.#change(scope, (name) => this.governor.resetBudget(name));
  }

  async #change(
    scope: string | string[] | undefined,
    change: (scope: string) => Promise<void>,
  ): Promise<Status> {
    await orUnavailable('nothing was changed', change(this.#scopeNamed(scope)));
    return this.status();
  }

  #scopeNamed(given: string | string[] | undefined): string {
    const { scopes } = this.governor;
    const [only] = scopes;
    if (given === undefined && only !== undefined && scopes.length === 1) return only;
    const known = `scopes: ${scopes.join(', ')}`;
    if (typeof given !== 'string') {
      throw new BadRequestException(`say which scope, as in ?scope=${only}; ${known}`);
    }
    if (!scopes.includes(given)) {
      throw new NotFoundException(`there is no scope ${JSON.stringify(given)}; ${known}`);
    }
    return given;
  }
}
