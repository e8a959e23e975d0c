//! How much a query reads, and of whom.

use aegis_core::finding::FindingId;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, LimitClause, Query, Select, SelectItem,
    SetExpr, TableFactor, Value,
};

use super::super::findings::Findings;
use super::names::{Name, is_personal_column, is_secret_column};
use super::predicate;

/// More rows than this are read as good as without a limit.
const ORDINARY_ROWS_MAX: u64 = 1_000;
/// Selects of one set operation that are looked at.
const SELECTS_MAX: usize = 32;

/// Adds what an outermost query reads.
pub(super) fn judge(query: &Query, pointer: &str, findings: &mut Findings) {
    let limited = query.limit_clause.as_ref().is_some_and(is_ordinary) || query.fetch.is_some();
    let mut open = vec![query.body.as_ref()];
    for _ in 0..SELECTS_MAX {
        match open.pop() {
            Some(SetExpr::Select(select)) => judge_select(select, limited, pointer, findings),
            Some(SetExpr::SetOperation { left, right, .. }) => open.extend([left.as_ref(), right.as_ref()]),
            Some(SetExpr::Query(inner)) => {
                if !inner.limit_clause.as_ref().is_some_and(is_ordinary) {
                    open.push(inner.body.as_ref());
                }
            }
            Some(_) => {}
            None => break,
        }
    }
}

fn judge_select(select: &Select, limited: bool, pointer: &str, findings: &mut Findings) {
    let tables: Vec<Name> = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)))
        .filter_map(|factor| match factor {
            TableFactor::Table { name, args: None, .. } => Some(Name::new(name)),
            _ => None,
        })
        .collect();
    let bounded = limited || select.top.is_some() || predicate::is_real(select.selection.as_ref());
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if tables.is_empty() || bounded || grouped || select.having.is_some() {
        return;
    }
    let read = Read::of(select);
    if read.columns == 0 && !read.everything {
        return;
    }
    let secret_table = tables.iter().any(Name::is_secret_table);
    let personal_table = tables.iter().any(Name::is_personal_table);
    if read.secret >= 2
        || (read.secret >= 1 && read.personal >= 1)
        || (read.secret >= 1 && personal_table && !select.from.is_empty() && read.columns > 1)
        || (read.everything && secret_table)
    {
        findings.add_base(FindingId::BulkPiiDump, pointer);
    } else if read.secret > 0 || read.personal > 0 || (read.everything && personal_table) {
        findings.add_base(FindingId::BulkPiiRead, pointer);
    }
    findings.add_base(FindingId::UnboundedQuery, pointer);
}

fn is_ordinary(limit: &LimitClause) -> bool {
    let (LimitClause::LimitOffset { limit: Some(rows), .. } | LimitClause::OffsetCommaLimit { limit: rows, .. }) =
        limit
    else {
        return false;
    };
    match rows {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<u64>().is_ok_and(|n| n <= ORDINARY_ROWS_MAX),
            Value::Placeholder(_) => true,
            _ => false,
        },
        _ => false,
    }
}

/// What kinds of columns a select gives out, row by row.
#[derive(Debug, Default)]
struct Read {
    everything: bool,
    columns: usize,
    secret: usize,
    personal: usize,
}

impl Read {
    fn of(select: &Select) -> Self {
        let mut read = Self::default();
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _) => read.everything = true,
                SelectItem::UnnamedExpr(expr)
                | SelectItem::ExprWithAlias { expr, .. }
                | SelectItem::ExprWithAliases { expr, .. } => read.expression(expr),
            }
        }
        read
    }

    fn expression(&mut self, expr: &Expr) {
        match expr {
            Expr::Identifier(ident) => self.column(&ident.value),
            Expr::CompoundIdentifier(parts) => self.column(parts.last().map_or("", |p| p.value.as_str())),
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => self.expression(inner),
            Expr::BinaryOp { left, right, .. } => {
                self.expression(left);
                self.expression(right);
            }
            Expr::Function(function) => {
                let name = Name::new(&function.name);
                // Counts and sums tell nothing of a single row; aggregated lists tell all.
                let summary = [
                    "count",
                    "sum",
                    "avg",
                    "min",
                    "max",
                    "stddev",
                    "variance",
                    "length",
                    "total",
                    "approx_count_distinct",
                ];
                if summary.contains(&name.last()) && function.over.is_none() {
                    return;
                }
                if let FunctionArguments::List(list) = &function.args {
                    for arg in &list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) = arg {
                            self.expression(inner);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn column(&mut self, name: &str) {
        self.columns += 1;
        if is_secret_column(name) {
            self.secret += 1;
        } else if is_personal_column(name) {
            self.personal += 1;
        }
    }
}
