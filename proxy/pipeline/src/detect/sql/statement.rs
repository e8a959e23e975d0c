//! What parsed statements do.

use std::ops::ControlFlow;

use aegis_core::finding::FindingId;
use sqlparser::ast::{
    AlterTableOperation, Assignment, AssignmentTarget, CopyTarget, Delete, Expr, FromTable, Insert, ObjectName,
    ObjectType, Query, SetExpr, SetOperator, Statement, TableFactor, TableObject, TableWithJoins, Update, Value, Visit,
    Visitor,
};

use super::super::findings::Findings;
use super::names::{Name, is_privilege_column};
use super::{predicate, read};

/// Adds what the statements do, each and together.
pub(super) fn judge(statements: &[Statement], pointer: &str, findings: &mut Findings) {
    let mut judge = Judge { pointer, findings };
    for statement in statements {
        let _ = statement.visit(&mut judge);
    }
    if let [Statement::Query(_), rest @ ..] = statements
        && rest.iter().any(changes)
    {
        findings.add(FindingId::SqlInjection, 70, pointer);
    }
}

fn changes(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Drop { .. }
            | Statement::Truncate(_)
            | Statement::AlterTable(_)
            | Statement::CreateUser(_)
            | Statement::CreateRole(_)
            | Statement::Grant(_)
            | Statement::Execute { .. }
            | Statement::Copy { .. }
    )
}

struct Judge<'a> {
    pointer: &'a str,
    findings: &'a mut Findings,
}

impl Judge<'_> {
    fn add(&mut self, id: FindingId, score: u8) {
        self.findings.add(id, score, self.pointer);
    }

    fn base(&mut self, id: FindingId) {
        self.findings.add_base(id, self.pointer);
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Drop { object_type, temporary, names, .. } => self.drop_object(*object_type, *temporary, names),
            Statement::Truncate(_) => self.base(FindingId::DestructiveSql),
            Statement::DropFunction(_) | Statement::DropProcedure { .. } | Statement::DropTrigger(_) => {
                self.add(FindingId::DestructiveSql, 70);
            }
            Statement::AlterTable(alter) => {
                for operation in &alter.operations {
                    self.alter(operation);
                }
            }
            Statement::Delete(delete) => self.delete(delete),
            Statement::Update(update) => self.update(update),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Grant(grant) => {
                let text = grant.to_string().to_ascii_lowercase();
                let everything =
                    ["all privileges", "grant all", "superuser", " admin", "with grant option", " to public"];
                self.add(
                    FindingId::PrivilegeEscalationAttempt,
                    if everything.iter().any(|w| text.contains(w)) { 95 } else { 60 },
                );
            }
            Statement::CreateUser(_)
            | Statement::CreateRole(_)
            | Statement::AlterRole { .. }
            | Statement::AlterUser(_) => {
                let text = statement.to_string().to_ascii_lowercase();
                let powerful = text.contains("superuser") && !text.contains("nosuperuser");
                self.add(FindingId::PrivilegeEscalationAttempt, if powerful { 95 } else { 70 });
            }
            Statement::Copy { to, target, .. } => match target {
                CopyTarget::Program { .. } => self.base(FindingId::CodeExecution),
                CopyTarget::File { .. } if *to => self.add(FindingId::DataExfiltration, 80),
                CopyTarget::File { .. } => self.add(FindingId::SystemSensitivePath, 60),
                CopyTarget::Stdin | CopyTarget::Stdout => {}
            },
            Statement::AttachDatabase { .. } | Statement::AttachDuckDBDatabase { .. } => {
                self.add(FindingId::DataExfiltration, 70);
            }
            Statement::CreateExtension(_) | Statement::Install { .. } | Statement::Load { .. } => {
                self.add(FindingId::CodeExecution, 60);
            }
            Statement::Execute { name: Some(name), .. } => self.procedure(&Name::new(name)),
            Statement::Call(function) => self.procedure(&Name::new(&function.name)),
            Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ExplainTable { .. } => self.base(FindingId::SchemaRecon),
            Statement::Pragma { name, .. } => self.pragma(&Name::new(name)),
            _ => {}
        }
    }

    fn drop_object(&mut self, object: ObjectType, temporary: bool, names: &[ObjectName]) {
        let score = match object {
            ObjectType::Table | ObjectType::Schema | ObjectType::Database | ObjectType::Warehouse => 95,
            ObjectType::Role | ObjectType::User => 80,
            _ => 60,
        };
        self.add(FindingId::DestructiveSql, if temporary { 20 } else { score });
        if names.iter().any(|name| Name::new(name).last().starts_with("aegis_")) {
            self.base(FindingId::ControlPlaneDestruction);
        }
    }

    fn alter(&mut self, operation: &AlterTableOperation) {
        match operation {
            AlterTableOperation::DropColumn { .. } | AlterTableOperation::DropPartitions { .. } => {
                self.base(FindingId::DestructiveSql);
            }
            AlterTableOperation::DropConstraint { .. }
            | AlterTableOperation::DropPrimaryKey { .. }
            | AlterTableOperation::DropForeignKey { .. }
            | AlterTableOperation::DropIndex { .. } => self.add(FindingId::DestructiveSql, 60),
            _ => {}
        }
    }

    fn delete(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        self.mutation(delete.selection.as_ref(), delete.limit.is_some());
        for table in tables.iter().filter_map(table_name) {
            self.write_to(&table);
        }
    }

    fn update(&mut self, update: &Update) {
        self.mutation(update.selection.as_ref(), update.limit.is_some());
        let Some(table) = table_name(&update.table) else { return };
        self.write_to(&table);
        if table.is_identity_table() {
            self.assignments(&update.assignments);
        }
    }

    fn insert(&mut self, insert: &Insert) {
        if let TableObject::TableName(name) = &insert.table {
            let table = Name::new(name);
            self.write_to(&table);
            let privileged = insert.columns.iter().any(|c| is_privilege_column(Name::new(c).last()));
            if table.is_identity_table() && privileged {
                self.add(FindingId::PrivilegeEscalationAttempt, 70);
            }
        }
    }

    fn mutation(&mut self, selection: Option<&Expr>, limited: bool) {
        if !predicate::is_real(selection) {
            let base = FindingId::UnguardedMutation.registry().1;
            self.add(FindingId::UnguardedMutation, if limited { 45 } else { base });
            if selection.is_some_and(predicate::has_injected_tautology) {
                self.base(FindingId::SqlInjection);
            }
        }
    }

    fn write_to(&mut self, table: &Name) {
        if table.is_database_users() {
            self.base(FindingId::PrivilegeEscalationAttempt);
        } else if table.is_identity_table() {
            self.base(FindingId::IdentityTableWrite);
        }
        if table.last().starts_with("aegis_") {
            self.base(FindingId::ControlPlaneWrite);
        }
    }

    /// Making someone powerful: a privilege column set to a powerful value.
    fn assignments(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            let AssignmentTarget::ColumnName(column) = &assignment.target else { continue };
            let value = match &assignment.value {
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) | Value::Number(text, _) => {
                        text.to_ascii_lowercase()
                    }
                    Value::Boolean(true) => "true".to_owned(),
                    _ => String::new(),
                },
                _ => String::new(),
            };
            let powerful = ["admin", "root", "superuser", "owner", "true", "1", "*", "all"];
            if is_privilege_column(Name::new(column).last()) {
                let score =
                    if powerful.iter().any(|p| value == *p || (p.len() > 3 && value.contains(p))) { 80 } else { 60 };
                self.add(FindingId::PrivilegeEscalationAttempt, score);
            }
        }
    }

    fn procedure(&mut self, name: &Name) {
        let last = name.last();
        if matches!(
            last,
            "xp_cmdshell" | "sp_oacreate" | "sp_oamethod" | "sys_exec" | "sys_eval" | "sp_execute_external_script"
        ) {
            self.base(FindingId::CodeExecution);
        } else if matches!(last, "sp_configure" | "sp_addsrvrolemember" | "sp_addlogin" | "sp_addrolemember") {
            self.base(FindingId::PrivilegeEscalationAttempt);
        } else if matches!(last, "xp_dirtree" | "xp_fileexist" | "xp_subdirs" | "xp_regread") {
            self.add(FindingId::DataExfiltration, 80);
        }
    }

    fn pragma(&mut self, name: &Name) {
        match name.last() {
            "writable_schema" => self.add(FindingId::DestructiveSql, 80),
            "table_info" | "table_list" | "table_xinfo" | "database_list" | "index_list" | "schema_version" => {
                self.base(FindingId::SchemaRecon);
            }
            _ => {}
        }
    }

    fn query(&mut self, query: &Query) {
        if let SetExpr::SetOperation { left, op: SetOperator::Union, right, .. } = query.body.as_ref()
            && is_padded_union(left, right)
        {
            self.add(FindingId::SqlInjection, 85);
        }
        if let SetExpr::Select(select) = query.body.as_ref()
            && select.selection.as_ref().is_some_and(predicate::has_injected_tautology)
        {
            self.add(FindingId::SqlInjection, 90);
        }
    }

    fn function(&mut self, name: &str) {
        match name {
            "load_file"
            | "pg_read_file"
            | "pg_read_binary_file"
            | "pg_ls_dir"
            | "pg_stat_file"
            | "readfile"
            | "lo_import"
            | "openrowset"
            | "opendatasource"
            | "utl_file"
            | "read_csv"
            | "read_text"
            | "read_blob" => self.add(FindingId::DataExfiltration, 85),
            "lo_export" | "writefile" | "dblink" | "dblink_connect" | "utl_http" | "httpuritype" | "http_get"
            | "http_post" => self.base(FindingId::DataExfiltration),
            "load_extension" | "sys_exec" | "sys_eval" | "xp_cmdshell" | "edit" | "pg_execute_server_program" => {
                self.base(FindingId::CodeExecution);
            }
            "sleep" | "pg_sleep" | "benchmark" | "randomblob" => self.add(FindingId::SqlInjection, 70),
            "extractvalue" | "updatexml" => self.add(FindingId::SqlInjection, 60),
            _ => {}
        }
    }
}

impl Visitor for Judge<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.statement(statement);
        if let Statement::Query(query) = statement {
            read::judge(query, self.pointer, self.findings);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = Name::new(relation);
        if name.is_catalog() {
            self.base(FindingId::SchemaRecon);
        }
        if name.is_database_users() {
            self.add(FindingId::BulkPiiRead, 60);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } = factor {
            self.function(Name::new(name).last());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.function(Name::new(&function.name).last());
        }
        ControlFlow::Continue(())
    }
}

/// The name of the table itself, joins left aside.
fn table_name(table: &TableWithJoins) -> Option<Name> {
    match &table.relation {
        TableFactor::Table { name, .. } => Some(Name::new(name)),
        _ => None,
    }
}

/// A union whose second half reads the catalog or secrets, filled up with constants to fit the first.
fn is_padded_union(left: &SetExpr, right: &SetExpr) -> bool {
    let (SetExpr::Select(first), SetExpr::Select(second)) = (left, right) else { return false };
    let tables = |from: &[TableWithJoins]| from.iter().filter_map(table_name).collect::<Vec<_>>();
    let (before, after) = (tables(&first.from), tables(&second.from));
    let padded =
        second.projection.iter().any(predicate::is_constant) && !first.projection.iter().any(predicate::is_constant);
    let foreign = |name: &Name| {
        !before.contains(name) && (name.is_catalog() || name.is_secret_table() || (padded && name.is_identity_table()))
    };
    after.iter().any(foreign)
}
