/** What open-iscsi, the initiator of Linux, proposes in the operational stage, as its sources have it. */

/** For a normal session. `added`: the keys of its transport, which come last. */
export function normalSession(headerDigest: string, ...added: readonly string[]): string[] {
  return [
    `HeaderDigest=${headerDigest}`,
    'DataDigest=None',
    'DefaultTime2Wait=2',
    'DefaultTime2Retain=0',
    'IFMarker=No',
    'OFMarker=No',
    'ErrorRecoveryLevel=0',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=16776192',
    'FirstBurstLength=262144',
    'MaxOutstandingR2T=1',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    ...added,
  ];
}

/** For a discovery session, over TCP and RDMA alike. */
export const DISCOVERY_SESSION = [
  'HeaderDigest=None',
  'DataDigest=None',
  'DefaultTime2Wait=0',
  'DefaultTime2Retain=0',
  'IFMarker=No',
  'OFMarker=No',
  'ErrorRecoveryLevel=0',
  'MaxRecvDataSegmentLength=32768',
];
