import tseslint from 'typescript-eslint';

/** Node's protocol code takes bytes, events and the time from outside, so it can neither wait nor be waited for. */
const SANS_IO = ['src/scsi/**/*.ts', 'src/iscsi/**/*.ts'];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'bench/results/', '.cache/'] },
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // `typeof import('koffi')` names a module that is loaded on demand.
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      eqeqeq: 'error',

      // noUncheckedIndexedAccess makes every bytes[i] possibly undefined; on the I/O path a check that
      // cannot fail costs time, so the author vouches for the index with a `!`.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // An indexed loop allocates no iterator.
      '@typescript-eslint/prefer-for-of': 'off',
      // `() => this.close()` as a callback says enough.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // A hook that a test or an event has no use for.
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      // process.env['NAME'] tells that the key comes from outside.
      '@typescript-eslint/dot-notation': ['error', { allowIndexSignaturePropertyAccess: true }],
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] },
          ],
        },
      ],
      // A contract hands back the very object that it was given, such as a transfer: its giver knows the class.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  {
    files: SANS_IO,
    ignores: ['**/*.test.ts', '**/testing/**'],
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: ':function[async=true]', message: 'Protocol code creates no promise.' },
        {
          selector: 'AwaitExpression',
          message: 'Protocol code waits for nothing: take the event as a call.',
        },
        { selector: "NewExpression[callee.name='Promise']", message: 'Protocol code creates no promise.' },
      ],
    },
  },
  { files: ['**/*.js', '**/*.mjs'], extends: [tseslint.configs.disableTypeChecked] },
);
