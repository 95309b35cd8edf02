import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/** Logs in by JDBC and prints the rows of statements, columns apart by tabs: URL, user, password, statements. */
public class Query {
    public static void main(String[] arguments) throws Exception {
        Class.forName("com.clickhouse.jdbc.Driver");
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2]);
                Statement statement = connection.createStatement()) {
            System.out.println(connection.getMetaData().getDatabaseProductName());
            for (int n = 3; n < arguments.length; n++) {
                try (ResultSet rows = statement.executeQuery(arguments[n])) {
                    print(rows);
                }
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
