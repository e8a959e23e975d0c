//! Tables and columns that mean something wherever they stand.

/// Tables that say who may do what. Lower case, singular and plural.
const IDENTITY_TABLES: [&str; 34] = [
    "user",
    "users",
    "admin",
    "admins",
    "administrators",
    "role",
    "roles",
    "user_role",
    "user_roles",
    "users_roles",
    "permission",
    "permissions",
    "user_permissions",
    "role_permissions",
    "grant",
    "grants",
    "privilege",
    "privileges",
    "credential",
    "credentials",
    "api_key",
    "api_keys",
    "apikeys",
    "access_tokens",
    "sessions",
    "auth_user",
    "auth_users",
    "oauth_tokens",
    "acl",
    "acls",
    "pg_authid",
    "pg_roles",
    "passwords",
    "service_accounts",
];
/// Columns that make someone powerful.
const PRIVILEGE_COLUMNS: [&str; 13] = [
    "role",
    "roles",
    "is_admin",
    "isadmin",
    "admin",
    "superuser",
    "is_superuser",
    "privileges",
    "permissions",
    "is_staff",
    "is_root",
    "access_level",
    "role_id",
];
/// Columns whose every single value is sensitive.
const SECRET_COLUMNS: [&str; 32] = [
    "ssn",
    "social_security",
    "social_security_number",
    "card_number",
    "cardnumber",
    "credit_card",
    "creditcard",
    "credit_card_number",
    "cc_number",
    "cc_num",
    "pan",
    "cvv",
    "cvc",
    "cvv2",
    "password",
    "passwd",
    "pwd",
    "pass",
    "password_hash",
    "passwordhash",
    "hashed_password",
    "pin_code",
    "iban",
    "account_number",
    "routing_number",
    "passport_number",
    "passport",
    "tax_id",
    "drivers_license",
    "license_number",
    "api_key",
    "secret_key",
];
/// Columns that are personal in numbers.
const PERSONAL_COLUMNS: [&str; 18] = [
    "email",
    "email_address",
    "e_mail",
    "phone",
    "phone_number",
    "mobile",
    "dob",
    "date_of_birth",
    "birthdate",
    "birth_date",
    "home_address",
    "street_address",
    "salary",
    "medical_record",
    "diagnosis",
    "national_id",
    "ip_address",
    "zip_code",
];
/// Tables whose rows are people.
const PERSONAL_TABLES: [&str; 22] = [
    "user",
    "users",
    "customer",
    "customers",
    "patient",
    "patients",
    "employee",
    "employees",
    "member",
    "members",
    "contact",
    "contacts",
    "person",
    "persons",
    "people",
    "client",
    "clients",
    "subscribers",
    "cardholders",
    "payroll",
    "beneficiaries",
    "applicants",
];
/// Tables whose rows are secrets.
const SECRET_TABLES: [&str; 12] = [
    "credit_cards",
    "creditcards",
    "payment_cards",
    "cards_data",
    "credentials",
    "passwords",
    "user_credentials",
    "api_keys",
    "secrets",
    "pg_shadow",
    "pg_authid",
    "payment_methods",
];
/// Where databases describe themselves.
const CATALOG_TABLES: [&str; 26] = [
    "sqlite_master",
    "sqlite_schema",
    "sqlite_temp_master",
    "sysobjects",
    "syscolumns",
    "sysdatabases",
    "sysusers",
    "all_tables",
    "all_tab_columns",
    "user_tables",
    "user_tab_columns",
    "dba_tables",
    "dba_users",
    "all_users",
    "pg_tables",
    "pg_class",
    "pg_database",
    "pg_user",
    "pg_shadow",
    "pg_stat_activity",
    "pg_namespace",
    "pg_attribute",
    "msysobjects",
    "pg_proc",
    "syslogins",
    "v$version",
];
const CATALOG_SCHEMAS: [&str; 5] = ["information_schema", "pg_catalog", "performance_schema", "sys", "mysql"];

/// A name of several parts, lower case, quotes gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<String>);

impl Name {
    pub(super) fn new(name: &sqlparser::ast::ObjectName) -> Self {
        Self(
            name.0.iter().map(|part| part.as_ident().map_or(String::new(), |i| i.value.to_ascii_lowercase())).collect(),
        )
    }

    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    fn schema(&self) -> &str {
        self.0.iter().rev().nth(1).map_or("", String::as_str)
    }

    pub(super) fn is_identity_table(&self) -> bool {
        IDENTITY_TABLES.contains(&self.last())
    }

    /// The table in which the database itself keeps its users.
    pub(super) fn is_database_users(&self) -> bool {
        (self.schema() == "mysql" && self.last() == "user")
            || matches!(self.last(), "pg_authid" | "pg_shadow" | "sys_user")
    }

    pub(super) fn is_personal_table(&self) -> bool {
        PERSONAL_TABLES.contains(&self.last())
    }

    pub(super) fn is_secret_table(&self) -> bool {
        SECRET_TABLES.contains(&self.last())
    }

    pub(super) fn is_catalog(&self) -> bool {
        CATALOG_TABLES.contains(&self.last())
            || self.0.iter().rev().skip(1).any(|part| CATALOG_SCHEMAS.contains(&part.as_str()))
    }
}

pub(super) fn is_privilege_column(column: &str) -> bool {
    PRIVILEGE_COLUMNS.iter().any(|c| column.eq_ignore_ascii_case(c))
}

pub(super) fn is_secret_column(column: &str) -> bool {
    SECRET_COLUMNS.iter().any(|c| column.eq_ignore_ascii_case(c))
}

pub(super) fn is_personal_column(column: &str) -> bool {
    PERSONAL_COLUMNS.iter().any(|c| column.eq_ignore_ascii_case(c))
}
