#!/usr/bin/env node
/**
 * Where the command `riser` starts. Disks that are waited for need threads, more than Node has by itself;
 * their number has to be set before Node reads its first file in a thread, which it does for modules: hence
 * CommonJS.
 */

process.env['UV_THREADPOOL_SIZE'] ??= '16';
void import('./main.js');
