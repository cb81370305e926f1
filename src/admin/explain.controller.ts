import {
  Controller,
  Get,
  Inject,
  NotFoundException,
  Param,
  ServiceUnavailableException,
  UseGuards,
} from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import type { FoundRefusal } from '../history/refusal-ledger.js';
import { AdminAccess } from './admin-access.js';
import { type Explanation, viewExplanation } from './explanation.js';

/** Why a request was refused by Tidegate. */
@Controller('explain')
@UseGuards(AdminAccess)
export class ExplainController {
  constructor(@Inject(DATA_PLANE) private readonly plane: DataPlane) {}

  @Get(':id')
  async explain(@Param('id') id: string): Promise<Explanation> {
    const { history, clock, config } = this.plane;
    let found: FoundRefusal | null;
    try {
      found = await history.explain(id, clock.now());
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new ServiceUnavailableException(`the journal can't be read: ${message}`, {
        cause: error,
      });
    }
    if (found !== null) return viewExplanation(id, found, config.backoff.probeEveryMs);
    throw new NotFoundException(
      `nothing is known of ${JSON.stringify(id.slice(0, 64))}: it was not refused by Tidegate, or more than 24 hours ago, or in the last second before a crash`,
    );
  }
}
