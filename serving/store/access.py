"""`Access`: who may come in: API keys, users, their sessions, and the audit log."""

from serving.store.access_audit import AuditLog
from serving.store.access_keys import ApiKeys
from serving.store.access_sessions import SignIns
from serving.store.access_users import Users


class Access(ApiKeys, Users, SignIns, AuditLog):
    """Who may come in: API keys, users, their sessions, and the audit log.

    Secrets are handed out once and kept as digests. What this class raises: StoreError (UnknownRecordError for an id that is
    not there, ConflictError for a name that is taken), ValueError for an argument, SignInError for a sign-in.
    """
