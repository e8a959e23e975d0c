-- Notes are found by the row they are about.
CREATE INDEX audit_rows_notes ON audit_rows (tenant_id, object) WHERE kind = 'note';
