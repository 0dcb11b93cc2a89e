/** The block of our images: as small as a block of tar, so that content can stay where it is in an archive. */
export const blockBytes = 512;
export const blockBits = 9;

/** What stands before everything else of a superblock. @see https://docs.kernel.org/filesystems/erofs.html */
export const superOffset = 1024;
export const superBytes = 128;
export const magic = 0xe0f5e1e2;

/** Inodes of the extended form. */
export const inodeBytes = 64;
/** An inode's number is where it stands in the metadata, in units of it. */
export const slotBytes = 32;

/** How the content of an inode lies: in blocks in a row, or behind the inode itself. */
export const layout = { plain: 0, inline: 2 } as const;

export function align(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
