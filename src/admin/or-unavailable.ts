import { ServiceUnavailableException } from '@nestjs/common';
import { reasonOf } from '../platform/tidegate-error.js';

/** What `work` resolves to. Where store or journal are away, a 503 that says what it comes to: `meaning`. */
export async function orUnavailable<Value>(meaning: string, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    throw new ServiceUnavailableException(`${meaning}: ${reasonOf(error)}`, { cause: error });
  }
}
