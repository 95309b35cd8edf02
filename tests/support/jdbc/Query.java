import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/**
 * Logs in by JDBC, and prints what DBeaver's tree shows and the rows of statements, columns apart by tabs: URL, user, password,
 * name of a view, statements.
 */
public class Query {
    public static void main(String[] arguments) throws Exception {
        Class.forName("com.clickhouse.jdbc.Driver");
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2]);
                Statement statement = connection.createStatement()) {
            DatabaseMetaData tree = connection.getMetaData();
            System.out.println(tree.getDatabaseProductName());
            String schema = connection.getSchema();
            print(tree.getSchemas(null, schema), "TABLE_SCHEM");
            print(tree.getTables(null, schema, "messages%", null), "TABLE_NAME", "TABLE_TYPE");
            print(tree.getColumns(null, schema, arguments[3], "%"), "COLUMN_NAME", "TYPE_NAME", "REMARKS");
            print(tree.getPrimaryKeys(null, schema, arguments[3]), "COLUMN_NAME");
            print(tree.getIndexInfo(null, schema, arguments[3], false, true), "INDEX_NAME");
            print(tree.getImportedKeys(null, schema, arguments[3]), "FKCOLUMN_NAME");
            for (int n = 4; n < arguments.length; n++) {
                try (ResultSet rows = statement.executeQuery(arguments[n])) {
                    print(rows);
                }
            }
        }
    }

    private static void print(ResultSet rows, String... columns) throws Exception {
        try (rows) {
            while (rows.next()) {
                StringBuilder line = new StringBuilder();
                for (String column : columns) {
                    line.append(line.length() > 0 ? "\t" : "").append(rows.getString(column));
                }
                System.out.println(line);
            }
        }
    }

    private static void print(ResultSet rows) throws Exception {
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            StringBuilder line = new StringBuilder();
            for (int column = 1; column <= columns; column++) {
                line.append(column > 1 ? "\t" : "").append(rows.getString(column));
            }
            System.out.println(line);
        }
    }
}
