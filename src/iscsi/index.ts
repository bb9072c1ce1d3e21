/**
 * iSCSI (RFC 7143) without sockets: names, text and headers of the wire, the login phase, discovery. The
 * rest of the target's side, sessions and connections, is in `riser/target`.
 */

export {
  formatIsid,
  initiatorPortName,
  NAME_LIMIT,
  type NameType,
  normalizeIscsiName,
  type ParsedName,
  parseIscsiName,
  receiveIscsiName,
} from './names.js';
export {
  CHAP_ALGORITHMS,
  type ChapAlgorithm,
  type ChapAlgorithmName,
  type ChapCredentials,
  ChallengeSource,
  usableAlgorithms,
} from './login/chap.js';
export { InitiatorAuthentication, type InitiatorAuthenticationOptions } from './login/chap-initiator.js';
export { ChapTarget, type ChapTargetOptions } from './login/chap-target.js';
export { LoginStatus, loginStatusOf } from './login/status.js';
export {
  DEFAULT_PARAMETERS,
  type KeyRule,
  KEYS,
  type OperationalParameters,
  type Role,
  type Stage,
  type TaskReporting,
} from './login/keys.js';
export { INITIATOR_OFFER, ISER_INITIATOR_OFFER, type Offer, TARGET_OFFER } from './login/offer.js';
export { Negotiation, type NegotiationOptions, type Received } from './login/negotiation.js';
export type {
  AuthenticationExchange,
  AuthenticationStep,
  Authenticator,
  ExistingSession,
  LoginIdentity,
  LoginPolicy,
  LoginRefusal,
  RecoveryOffer,
  SessionType,
  TargetIdentity,
} from './login/policy.js';
export {
  LOGIN_DATA_SEGMENT_LIMIT,
  LOGIN_REQUEST_LIMIT,
  type LoginOutcome,
  type LoginResponsePdu,
  type LoginResult,
  LoginStage,
  TargetLogin,
  type TargetLoginOptions,
} from './login/target-login.js';
export {
  InitiatorLogin,
  type InitiatorLoginOptions,
  type InitiatorLoginOutcome,
  type InitiatorLoginResult,
  LoginRefused,
  type LoginRequestPdu,
} from './login/initiator-login.js';
export {
  InitiatorConnection,
  type InitiatorConnectionHost,
  type InitiatorLimits,
} from './initiator/connection.js';
export {
  type Answer,
  type ControlRequests,
  type LogoutAnswer,
  PING_LIMIT,
  type TaskManagementAnswer,
  type TaskManagementOptions,
} from './initiator/control-requests.js';
export { type AsyncNotice, InitiatorFullFeature, type InitiatorHost } from './initiator/full-feature.js';
export { InitiatorTask, SENSE_LIMIT } from './initiator/task.js';
export { recoverTasks } from './initiator/task-recovery.js';
export { Command } from './target/command.js';
export type { CommandTable } from './target/command-table.js';
export { type ConnectionHost, type ConnectionLimits, TargetConnection } from './target/connection.js';
export { type EndReason, FullFeature, type FullFeatureHost } from './target/full-feature.js';
export type { TaskManagementCall } from './target/task-management.js';
export type { TargetDirectory } from './target/text-exchange.js';
export {
  answerSendTargets,
  type DiscoverableTarget,
  type DiscoveryContext,
  type DiscoveryPortal,
  formatPortal,
  plainAddress,
} from './target/discovery.js';
export { buildText, type ParsedText, parseText, type TextPair } from './wire/text.js';
export * from './wire/headers.js';
