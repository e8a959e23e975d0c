-- Shadow versions of policies: judged beside the active one, recorded in the row, never enforced.
CREATE UNIQUE INDEX policy_versions_shadow ON policy_versions (tenant_id, name) WHERE mode = 'shadow';

-- Which shadow versions would have decided otherwise: a JSON list of name@version, NULL if none.
ALTER TABLE audit_rows ADD COLUMN shadow TEXT;
CREATE INDEX audit_rows_shadow ON audit_rows (tenant_id, idx) WHERE shadow IS NOT NULL;
