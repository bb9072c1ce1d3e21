import { libiscsiConformance } from '../support/libiscsi-conformance.js';

libiscsiConformance('tcp');
