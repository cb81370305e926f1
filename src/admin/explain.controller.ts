import { Controller, Get, Inject, NotFoundException, Param, UseGuards } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { AdminAccess } from './admin-access.js';
import { type Explanation, viewExplanation } from './explanation.js';
import { orUnavailable } from './or-unavailable.js';

/** Why a request was refused by Tidegate. */
@Controller('explain')
@UseGuards(AdminAccess)
export class ExplainController {
  constructor(@Inject(DATA_PLANE) private readonly plane: DataPlane) {}

  @Get(':id')
  async explain(@Param('id') id: string): Promise<Explanation> {
    const { history, clock, config } = this.plane;
    const asked = history.explain(id, clock.now());
    const found = await orUnavailable("the journal can't be read", asked);
    if (found !== null) return viewExplanation(id, found, config.backoff.probeEveryMs);
    throw new NotFoundException(
      `nothing is known of ${JSON.stringify(id.slice(0, 64))}: it was not refused by Tidegate, or more than 24 hours ago, or in the last second before a crash`,
    );
  }
}
