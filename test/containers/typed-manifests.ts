import { join, resolve } from 'node:path';
import ts from 'typescript';

const ROOT = resolve(import.meta.dirname, '../..');
/** Where the text that is checked would lie; it is never written. */
const FILE = join(ROOT, 'test/containers/manifests.virtual.ts');

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
}

/**
 * What the Kubernetes API would say of each manifest's shape: keys that do not exist, values of a wrong
 * type, what is missing. Each becomes a literal of its type in `kubernetes-types`, and TypeScript
 * checks literals key by key, which validators by JSON schema leave out. One call for all of them:
 * what takes its time are the types.
 */
export function shapeFaults(manifests: readonly Manifest[]): readonly (readonly string[])[] {
  const lines = manifests.map((manifest, index) => {
    const { apiVersion, kind } = manifest;
    const module = apiVersion === 'v1' ? 'core/v1' : apiVersion.replace('.k8s.io/', '/');
    const type = `import('kubernetes-types/${module}').${kind}`;
    return `export const manifest${index}: ${type} = ${JSON.stringify(manifest)};`;
  });
  const program = programOf(lines.join('\n'));
  const faults: string[][] = manifests.map(() => []);
  for (const { file, start, messageText } of [
    ...program.getGlobalDiagnostics(),
    ...program.getSemanticDiagnostics(program.getSourceFile(FILE)),
  ]) {
    const text = ts.flattenDiagnosticMessageText(messageText, ' ');
    if (file?.fileName !== FILE || start === undefined) throw new Error(text);
    faults[file.getLineAndCharacterOfPosition(start).line]!.push(text);
  }
  return faults;
}

function programOf(text: string): ts.Program {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    // Literals and interfaces need no more.
    lib: ['lib.es5.d.ts'],
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const onDisk = host.getSourceFile.bind(host);
  const exists = host.fileExists.bind(host);
  host.fileExists = (path) => path === FILE || exists(path);
  host.getSourceFile = (path, target) =>
    path === FILE ? ts.createSourceFile(path, text, target) : onDisk(path, target);
  return ts.createProgram([FILE], options, host);
}
