/**
 * The log for operators, one JSON object a line: pino behind one file. Not the audit trail: a line may be lost, and a
 * log that cannot be written stops nothing.
 */
import { pino } from 'pino';
import { Fault, messageOf } from './fault.ts';
import { printableJson } from './text.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, unknown>>;

/** What rooms take to write to the log. Fields may be untrusted; an `error` among them is written with its stack. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Gives a log that adds these fields to every line. */
  child(fields: LogFields): Log;
}

/** Says nothing: for tests, and for programs without a log. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

/**
 * Opens the log at a file, which is appended to and made with mode 0600, or at stderr. Each line is written at once.
 * @throws Fault `file.unwritable`
 */
export function openLog(options: { readonly level: LogLevel; readonly file?: string | undefined }): Log {
  const destination = openDestination(options.file);
  destination.on('error', () => undefined); // A full disk, or a reader that is gone.
  return wrap(
    pino(
      {
        level: options.level,
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        serializers: { error: pino.stdSerializers.err },
        formatters: { level: (label) => ({ level: label }) },
      },
      { write: (line: string) => void destination.write(`${printableJson(line.trimEnd())}\n`) },
    ),
  );
}

function openDestination(file: string | undefined) {
  try {
    return pino.destination({ dest: file ?? 2, sync: true, append: true, mode: 0o600 });
  } catch (error) {
    throw new Fault('file.unwritable', { file: file ?? 'stderr', what: messageOf(error) }, { cause: error });
  }
}

function wrap(logger: pino.Logger): Log {
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) =>
      logger[level](fields, message);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => wrap(logger.child(fields)),
  };
}
