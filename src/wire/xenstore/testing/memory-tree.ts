/** The nodes of the in-memory store as an immutable tree: a snapshot is a reference. For tests only. */
import type { Permission } from '../permissions.ts';

export interface TreeNode {
  readonly value: Buffer;
  readonly permissions: readonly Permission[];
  /** New whenever the value, the permissions or the names of the children change. */
  readonly generation: number;
  readonly children: ReadonlyMap<string, TreeNode>;
}

/** Gives the node at an absolute path. */
export function nodeAt(root: TreeNode, path: string): TreeNode | undefined {
  let node: TreeNode | undefined = root;
  for (const part of partsOf(path)) node = node?.children.get(part);
  return node;
}

/** Gives the tree with another value and other permissions at a path whose parent is there. */
export function putNode(
  root: TreeNode,
  path: string,
  content: Pick<TreeNode, 'value' | 'permissions'>,
  generation: number,
): TreeNode {
  return change(root, partsOf(path), generation, (old) => ({
    ...content,
    generation,
    children: old?.children ?? new Map(),
  }));
}

/** Gives the tree without the node and what is below it. */
export function removeNode(root: TreeNode, path: string, generation: number): TreeNode {
  return change(root, partsOf(path), generation, () => undefined);
}

/** Gives the paths of a node and all below it, the deepest first. */
export function pathsBelow(root: TreeNode, path: string): string[] {
  const node = nodeAt(root, path);
  if (node === undefined) return [];
  return [...[...node.children.keys()].flatMap((name) => pathsBelow(root, childPath(path, name))), path];
}

/** Gives the path of a node's parent; the root is its own. */
export function parentPath(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Gives the path of a child. */
export function childPath(path: string, name: string): string {
  return path === '/' ? `/${name}` : `${path}/${name}`;
}

function partsOf(path: string): string[] {
  return path === '/' ? [] : path.slice(1).split('/');
}

function change(
  node: TreeNode,
  parts: readonly string[],
  generation: number,
  leaf: (old: TreeNode | undefined) => TreeNode | undefined,
): TreeNode {
  const [name, ...rest] = parts;
  if (name === undefined) return leaf(node) ?? node;
  const old = node.children.get(name);
  const changed = rest.length === 0 ? leaf(old) : old && change(old, rest, generation, leaf);
  const children = new Map(node.children);
  if (changed === undefined) children.delete(name);
  else children.set(name, changed);
  const hasOtherNames = (old === undefined) !== (changed === undefined);
  return { ...node, children, generation: hasOtherNames ? generation : node.generation };
}
