/** The version of this program: put in by the build; from source, what package.json says is not worth a read. */
export const VERSION: string = process.env['USHER_VERSION'] ?? 'from source';
